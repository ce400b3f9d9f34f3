// slipway node list|show|token
#include <CLI/CLI.hpp>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "backend/base/clock.h"
#include "slipway/v1/node.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::NodeService::Stub;

std::string state_of(const v1::Node& node) { return node.state() == v1::NODE_STATE_ONLINE ? "online" : "offline"; }

std::string percent(double share) { return std::to_string(static_cast<int>(share * 100 + 0.5)) + " %"; }

Exit list_nodes(Context& context) {
  auto& client = context.client();
  const auto stub = v1::NodeService::NewStub(client.channel());
  v1::ListNodesRequest request;
  request.mutable_page()->set_page_size(500);
  v1::ListNodesResponse all;
  do {
    auto page = client.call(*stub, &Stub::ListNodes, request);
    all.mutable_nodes()->MergeFrom(page.nodes());
    *all.mutable_page() = page.page();
    request.mutable_page()->set_page_token(page.page().next_page_token());
  } while (!request.page().page_token().empty());
  if (context.json) {
    std::cout << to_json(all) << '\n';
    return Exit::kOk;
  }
  Table table({"NAME", "STATE", "CORES", "CPU", "MEMORY", "GPUS", "BUSY", "SEEN"}, {2, 3});
  const int64_t now = base::SystemClock().now_ms();
  for (const auto& node : all.nodes()) {
    int gpus = 0;
    int busy = 0;
    for (const auto& device : node.devices()) {
      gpus += device.kind() == "cuda" ? 1 : 0;
      busy += device.attempt_id().empty() ? 0 : 1;
    }
    const auto& sample = node.latest_sample();
    table.add({node.name(), state_of(node), std::to_string(node.cpu_cores()), percent(sample.cpu_utilization()),
               format_bytes(sample.memory_used_bytes()) + " of " + format_bytes(node.memory_bytes()),
               std::to_string(gpus), std::to_string(busy) + " of " + std::to_string(node.devices_size()),
               format_age(node.last_seen_at(), now)});
  }
  table.print(std::cout, "No nodes yet. Add one: slipway-agent --backend HOST:PORT --join TOKEN (slipway node token)");
  return Exit::kOk;
}

Exit show_node(Context& context, const std::string& id) {
  auto& client = context.client();
  const auto stub = v1::NodeService::NewStub(client.channel());
  // By id, or by a name of the list.
  v1::ListNodesRequest list;
  list.mutable_page()->set_page_size(500);
  std::string node_id = id;
  const auto all = client.call(*stub, &Stub::ListNodes, list);
  for (const auto& node : all.nodes()) {
    if (node.name() == id) node_id = node.id();
  }
  v1::GetNodeRequest request;
  request.set_id(node_id);
  const auto node = client.call(*stub, &Stub::GetNode, request);
  if (context.json) {
    std::cout << to_json(node) << '\n';
    return Exit::kOk;
  }
  std::string features;
  for (const auto& feature : node.cpu_features()) features += (features.empty() ? "" : " ") + feature;
  Table facts({"", ""});
  facts.add({"Node", node.name()});
  facts.add({"Id", node.id()});
  facts.add({"State", state_of(node)});
  facts.add({"CPU", node.cpu_model() + ", " + std::to_string(node.cpu_cores()) + " cores"});
  facts.add({"Features", features});
  facts.add({"Memory", format_bytes(node.memory_bytes())});
  facts.add({"Disk", format_bytes(node.disk_bytes())});
  facts.add({"System", node.os()});
  facts.add({"Agent", node.agent_version()});
  facts.print(std::cout, "");
  std::cout << '\n';
  Table devices({"DEVICE", "KIND", "NAME", "MEMORY", "ATTEMPT"}, {3});
  for (const auto& device : node.devices()) {
    devices.add({device.id(), device.kind(), device.name(), format_bytes(device.memory_bytes()),
                 device.attempt_id().empty() ? "free" : device.attempt_id()});
  }
  devices.print(std::cout, "No devices.");
  return Exit::kOk;
}

Exit make_token(Context& context) {
  auto& client = context.client();
  const auto stub = v1::NodeService::NewStub(client.channel());
  const auto response = client.call(*stub, &Stub::CreateJoinToken, v1::CreateJoinTokenRequest());
  if (context.json) {
    std::cout << to_json(response) << '\n';
  } else {
    std::cout << response.join_token() << '\n';
  }
  return Exit::kOk;
}

}  // namespace

void add_nodes(CLI::App& app, Context& context) {
  auto* node = app.add_subcommand("node", "Machines with an agent");
  node->require_subcommand(1);
  auto* list = node->add_subcommand("list", "List nodes");
  list->callback([&context] { context.action = [&context] { return list_nodes(context); }; });
  const auto id = std::make_shared<std::string>();
  auto* show = node->add_subcommand("show", "Show one node and its devices");
  show->add_option("NODE", *id, "Name or id")->required();
  show->callback([&context, id] { context.action = [&context, id] { return show_node(context, *id); }; });
  auto* token = node->add_subcommand("token", "Make a one-time token for a new agent (administrators)");
  token->callback([&context] { context.action = [&context] { return make_token(context); }; });
}

}  // namespace slipway::cli
