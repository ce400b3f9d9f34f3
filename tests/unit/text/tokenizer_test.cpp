// Tokenizers on small vocabularies made here: merging, special tokens, damaged files, saving, streaming.
#include "agents/engine/text/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::text {
namespace {

using json = nlohmann::json;

// A byte-level vocabulary of the 256 bytes, "he" and "hel", and two added tokens.
json small_tokenizer() {
  json vocabulary = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    append_utf8(spelling, byte_alphabet()[static_cast<size_t>(byte)]);
    vocabulary[spelling] = byte;
  }
  vocabulary["he"] = 256;
  vocabulary["hel"] = 257;
  return {{"added_tokens",
           {{{"id", 258}, {"content", "<|end|>"}, {"special", true}, {"normalized", false}},
            {{"id", 259}, {"content", "[word]"}, {"special", false}, {"normalized", false}}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "he l"}}}}};
}

std::unique_ptr<const Tokenizer> make(const json& root) {
  return make_tokenizer(parse_tokenizer_json(root.dump(), "tokenizer.json"));
}

TEST(Tokenizer, MergesByRankAndKeepsTheRestAsBytes) {
  const auto tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("hello", false), (std::vector<TokenId>{257, 'l', 'o'}));
  EXPECT_EQ(tokenizer->vocab_size(), 260);
}

TEST(Tokenizer, SpecialTokensAreTextUnlessParsed) {
  const auto tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("a<|end|>", false, true), (std::vector<TokenId>{'a', 258}));
  EXPECT_EQ(tokenizer->encode("a<|end|>", false, false).size(), 8U);
  // An added token that is not special is found either way.
  EXPECT_EQ(tokenizer->encode("[word]", false, false), (std::vector<TokenId>{259}));
}

TEST(Tokenizer, InvalidUtf8IsReadAsReplacementCharacters) {
  const auto tokenizer = make(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("a\xFF\xE2\x82", false), tokenizer->encode("a\uFFFD\uFFFD", false));
}

TEST(Tokenizer, DecodingAnUnknownIdSaysWhich) {
  const auto tokenizer = make(small_tokenizer());
  const std::vector<TokenId> ids{1000};
  try {
    tokenizer->decode(ids, false);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("1000"), std::string::npos);
  }
}

TEST(Tokenizer, LongWordsMergeAsShortOnesDo) {
  const auto tokenizer = make(small_tokenizer());
  std::string text;
  for (int count = 0; count < 5000; ++count) text += "hel";
  EXPECT_EQ(tokenizer->encode(text, false), std::vector<TokenId>(5000, 257));
}

TEST(Tokenizer, ServesManyThreads) {
  const auto tokenizer = make(small_tokenizer());
  const std::string text = "hello help shell the heap, hello again";
  const auto expected = tokenizer->encode(text, false);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&, index] {
      for (int count = 0; count < 200; ++count) {
        if (tokenizer->encode(text, false) != expected) ++wrong;
        tokenizer->encode("word" + std::to_string(index * 1000 + count), false);
        if (tokenizer->fingerprint().size() != 64) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, FingerprintFollowsMergesSpecialsAndVocabulary) {
  const std::string original = make(small_tokenizer())->fingerprint();
  EXPECT_EQ(make(small_tokenizer())->fingerprint(), original);
  json other = small_tokenizer();
  other["model"]["merges"] = {"h e"};
  EXPECT_NE(make(other)->fingerprint(), original);
  other = small_tokenizer();
  other["added_tokens"][1]["special"] = true;
  EXPECT_NE(make(other)->fingerprint(), original);
  other = small_tokenizer();
  other["added_tokens"][1]["content"] = "[other]";
  EXPECT_NE(make(other)->fingerprint(), original);
}

TEST(Tokenizer, TemplateProcessingAddsTokensAroundTheText) {
  json root = small_tokenizer();
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<|end|>", {{"id", "<|end|>"}, {"ids", {258}}, {"tokens", {"<|end|>"}}}}}}};
  const auto tokenizer = make(root);
  EXPECT_EQ(tokenizer->encode("a", true), (std::vector<TokenId>{258, 'a'}));
  EXPECT_EQ(tokenizer->encode("a", false), (std::vector<TokenId>{'a'}));
}

struct Damage {
  const char* pointer;
  json value;
  const char* key;
};

TEST(Tokenizer, DamagedFilesAreRefusedWithFileAndKey) {
  const std::vector<Damage> cases = {
      {"/model/vocab/he", -4, "model.vocab[\"he\"]"},
      {"/model/vocab/he", 257, "model.vocab[\"hel\"]"},
      {"/model/vocab/he", int64_t{1} << 40, "model.vocab[\"he\"]"},
      {"/model/merges/0", "h", "model.merges[0]"},
      {"/model/merges/0", "h zz", "model.merges[0]"},
      {"/model/merges/1", {"l", "o"}, "model.merges[1]"},
      {"/added_tokens/0/id", "x", "added_tokens[0].id"},
      {"/added_tokens/0/id", 7, "added_tokens[0]"},
      {"/added_tokens/1/content", "", "added_tokens[1].content"},
      {"/pre_tokenizer/use_regex", 1, "pre_tokenizer.use_regex"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}},
       "pre_tokenizer.pattern.Regex"},
  };
  for (const Damage& damage : cases) {
    json root = small_tokenizer();
    root[json::json_pointer(damage.pointer)] = damage.value;
    try {
      make(root);
      FAIL() << damage.pointer;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), base::kInvalidModel) << damage.pointer;
      EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(damage.key), std::string::npos) << error.what();
    }
  }
}

TEST(Tokenizer, UnknownKindsAreUnsupportedAndListWhatIsKnown) {
  json root = small_tokenizer();
  root["model"]["type"] = "WordPiece";
  try {
    make(root);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kUnsupported);
    EXPECT_NE(error.advice().find("BPE"), std::string::npos);
  }
}

TEST(Tokenizer, SavingAndLoadingKeepsFingerprintAndSpecials) {
  const base::TemporaryFolder folder;
  base::write_file_atomically(folder.path() / "tokenizer.json", small_tokenizer().dump());
  base::write_file_atomically(
      folder.path() / "tokenizer_config.json",
      json{{"eos_token", {{"content", "<|end|>"}}}, {"chat_template", "{{ messages }}"}}.dump());
  const auto first = load_tokenizer(folder.path());
  EXPECT_EQ(first->eos_id(), 258);
  save_tokenizer(*first, folder.path() / "out");
  const auto second = load_tokenizer(folder.path() / "out");
  EXPECT_EQ(second->fingerprint(), first->fingerprint());
  EXPECT_EQ(second->eos_id(), 258);
  EXPECT_EQ(second->bos_id(), std::nullopt);
  EXPECT_EQ(second->chat_template(), "{{ messages }}");
}

TEST(StreamDecoder, NeverSplitsACharacter) {
  const auto tokenizer = make(small_tokenizer());
  StreamDecoder decoder(*tokenizer, true);
  const std::string text = "a\U0001F642é";
  std::string out;
  for (const char byte : text) {
    const std::string piece = decoder.push(static_cast<unsigned char>(byte));
    EXPECT_TRUE(is_valid_utf8(piece));
    out += piece;
  }
  EXPECT_EQ(decoder.push(258), "");  // special
  EXPECT_EQ(out + decoder.flush(), text);
}

TEST(StreamDecoder, AnIdThatOnlyTheModelHasIsNoText) {
  const auto tokenizer = make(small_tokenizer());
  StreamDecoder decoder(*tokenizer, false);
  EXPECT_EQ(decoder.push('x'), "x");
  EXPECT_EQ(decoder.push(100'000), "");
  EXPECT_EQ(decoder.push('y'), "y");
  EXPECT_THROW(tokenizer->decode(std::vector<TokenId>{100'000}, false), base::Error);
}

TEST(StreamDecoder, UnfinishedAndBrokenCharactersBecomeReplacements) {
  const auto tokenizer = make(small_tokenizer());
  StreamDecoder decoder(*tokenizer, false);
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push('x'), "\uFFFDx");
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.flush(), "");
}

}  // namespace
}  // namespace slipway::text
