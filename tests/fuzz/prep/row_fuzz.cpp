// Any line in any format becomes a row or a RowFault, and a row can be cleaned, compared and written.
#include <cstdint>
#include <string>

#include "agents/engine/prep/normalize.h"
#include "agents/engine/prep/operators.h"
#include "agents/engine/prep/row.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::prep;
  if (size < 1) return 0;
  const auto format = static_cast<Format>(data[0] % 6);
  const std::string line(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    Row row = parse_row(line, format, {});
    row.for_each_text([](std::string& text) { text = normalize_text(text, UnicodeForm::kNfc); });
    joined_texts(row, exact_key);
    near_key(joined_texts(row, nullptr));
    if (row.useless().empty() && row.kind == RowKind::kConversation) format_row(row, Format::kMessages);
  } catch (const RowFault&) {
  }
  return 0;
}
