# slipway-serve under TLS: requests, streams, a client that leaves, and a certificate that is renewed.
import concurrent.futures
import json
import pathlib
import signal
import ssl
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import Server  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def write_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
                   check=True, capture_output=True)
    return (folder / "certificate.pem").read_text()


@pytest.fixture()
def server(tmp_path):
    write_certificate(tmp_path)
    running = Server(tmp_path / "log", "--ssl-certfile", tmp_path / "certificate.pem", "--ssl-keyfile", tmp_path / "key.pem")
    assert running.url.startswith("https://")
    running.tls = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    yield running
    assert running.stop() == 0


def seen_certificate(server):
    return ssl.get_server_certificate(("127.0.0.1", server.port))


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_requests_and_streams_are_as_without(server):
    fields = dict(messages=QUESTION, temperature=0, max_tokens=20)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        whole = list(pool.map(lambda _: server.post("/v1/chat/completions", **fields)[1]["choices"][0]["message"]["content"], range(4)))
    assert "Paris" in whole[0] and len(set(whole)) == 1
    events = server.stream("/v1/chat/completions", **fields)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == whole[0]
    response, _ = server.request("POST", "/v1/chat/completions", "x" * (1 << 20))
    assert response.status == 400  # a large body comes through whole
    connection = server.connect()  # several requests on one connection
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b""
    connection.close()


def test_a_client_that_leaves_frees_the_engine(server):
    connection = server.connect()
    body = {"messages": QUESTION, "max_tokens": 900, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read(10)
    connection.sock.close() if connection.sock else None
    connection.close()
    wait_until(lambda: server.metric("vllm:num_requests_running") == 0)


def test_plain_http_and_old_tls_are_refused(server):
    server.tls, tls = None, server.tls
    with pytest.raises(Exception):
        server.request("GET", "/health")
    server.tls = tls
    old = ssl.create_default_context(cafile=pathlib.Path(server.log).parent / "certificate.pem")
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    server.tls = old
    with pytest.raises(ssl.SSLError):
        server.request("GET", "/health")
    server.tls = tls
    assert server.request("GET", "/health")[0].status == 200


def test_a_renewed_certificate_is_taken_without_a_restart(server, tmp_path):
    first = seen_certificate(server)
    second = write_certificate(tmp_path)
    assert seen_certificate(server) == first
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: seen_certificate(server) == second)
    (tmp_path / "key.pem").write_text("broken")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old certificate stays" in (tmp_path / "log").read_text())
    assert seen_certificate(server) == second
