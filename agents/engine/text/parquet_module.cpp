// libslipway_parquet.so: rows of a Parquet file as JSON, by Arrow. See parquet_module.h.
#include "agents/engine/text/parquet_module.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

namespace slipway::text {

namespace {

using nlohmann::ordered_json;

constexpr int64_t kRowsAtOnce = 1024;

ordered_json value_of(const arrow::Array& array, int64_t at);

// Of the types whose rows are runs of another array.
template <typename List>
ordered_json list_of(const arrow::Array& array, int64_t at) {
  const auto& list = static_cast<const List&>(array);
  ordered_json values = ordered_json::array();
  for (int64_t i = list.value_offset(at); i < list.value_offset(at + 1); ++i)
    values.push_back(value_of(*list.values(), i));
  return values;
}

// Where rows differ in their members, datasets writes nulls for those that one has not: they are left out.
void add_member(ordered_json& object, const std::string& name, const arrow::Array& array, int64_t at) {
  if (array.IsNull(at) && name != "content") return;
  object[name] = value_of(array, at);
}

ordered_json struct_of(const arrow::StructArray& array, int64_t at) {
  ordered_json object = ordered_json::object();
  for (int i = 0; i < array.num_fields(); ++i) {
    add_member(object, array.struct_type()->field(i)->name(), *array.field(i), at);
  }
  return object;
}

ordered_json map_of(const arrow::MapArray& array, int64_t at) {
  ordered_json object = ordered_json::object();
  for (int64_t i = array.value_offset(at); i < array.value_offset(at + 1); ++i) {
    const ordered_json key = value_of(*array.keys(), i);
    object[key.is_string() ? key.get<std::string>() : key.dump()] = value_of(*array.items(), i);
  }
  return object;
}

template <typename Array>
ordered_json plain(const arrow::Array& array, int64_t at) {
  return static_cast<const Array&>(array).Value(at);
}

template <typename Array>
ordered_json text_of(const arrow::Array& array, int64_t at) {
  return std::string(static_cast<const Array&>(array).GetView(at));
}

ordered_json value_of(const arrow::Array& array, int64_t at) {
  if (array.IsNull(at)) return nullptr;
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      return plain<arrow::BooleanArray>(array, at);
    case arrow::Type::INT8:
      return plain<arrow::Int8Array>(array, at);
    case arrow::Type::INT16:
      return plain<arrow::Int16Array>(array, at);
    case arrow::Type::INT32:
      return plain<arrow::Int32Array>(array, at);
    case arrow::Type::INT64:
      return plain<arrow::Int64Array>(array, at);
    case arrow::Type::UINT8:
      return plain<arrow::UInt8Array>(array, at);
    case arrow::Type::UINT16:
      return plain<arrow::UInt16Array>(array, at);
    case arrow::Type::UINT32:
      return plain<arrow::UInt32Array>(array, at);
    case arrow::Type::UINT64:
      return plain<arrow::UInt64Array>(array, at);
    case arrow::Type::FLOAT:
      return plain<arrow::FloatArray>(array, at);
    case arrow::Type::DOUBLE:
      return plain<arrow::DoubleArray>(array, at);
    case arrow::Type::STRING:
      return text_of<arrow::StringArray>(array, at);
    case arrow::Type::LARGE_STRING:
      return text_of<arrow::LargeStringArray>(array, at);
    case arrow::Type::STRING_VIEW:
      return text_of<arrow::StringViewArray>(array, at);
    case arrow::Type::LIST:
      return list_of<arrow::ListArray>(array, at);
    case arrow::Type::LARGE_LIST:
      return list_of<arrow::LargeListArray>(array, at);
    case arrow::Type::STRUCT:
      return struct_of(static_cast<const arrow::StructArray&>(array), at);
    case arrow::Type::MAP:
      return map_of(static_cast<const arrow::MapArray&>(array), at);
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return value_of(*dictionary.dictionary(), dictionary.GetValueIndex(at));
    }
    default: {
      // Dates, decimals and the like, as Arrow writes them.
      const auto scalar = array.GetScalar(at);
      return scalar.ok() ? ordered_json((*scalar)->ToString()) : ordered_json(nullptr);
    }
  }
}

class Reader : public ParquetReader {
 public:
  arrow::Status open(const std::string& path) {
    ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
    parquet::arrow::FileReaderBuilder builder;
    ARROW_RETURN_NOT_OK(builder.Open(std::move(file)));
    builder.properties(parquet::ArrowReaderProperties(false));
    ARROW_ASSIGN_OR_RAISE(reader_, builder.Build());
    reader_->set_batch_size(kRowsAtOnce);
    ARROW_ASSIGN_OR_RAISE(batches_, reader_->GetRecordBatchReader());
    count_ = reader_->parquet_reader()->metadata()->num_rows();
    return arrow::Status::OK();
  }

  bool next(std::string& row, std::string& failure) noexcept override {
    try {
      if (!has_row(failure)) return false;
      ordered_json object = ordered_json::object();
      for (int i = 0; i < batch_->num_columns(); ++i) {
        add_member(object, batch_->schema()->field(i)->name(), *batch_->column(i), at_);
      }
      ++at_;
      row = object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
      return true;
    } catch (const std::exception& error) {
      failure = error.what();
      return false;
    }
  }

  bool skip(int64_t rows, std::string& failure) noexcept override {
    try {
      while (rows > 0) {
        if (!has_row(failure)) return false;
        const int64_t passed = std::min(rows, batch_->num_rows() - at_);
        at_ += passed;
        rows -= passed;
      }
      return true;
    } catch (const std::exception& error) {
      failure = error.what();
      return false;
    }
  }

  int64_t count() const noexcept override { return count_; }

 private:
  // Reads on when the batch is used up. False at the end, or with the reason in `failure`.
  bool has_row(std::string& failure) {
    while (batch_ == nullptr || at_ == batch_->num_rows()) {
      at_ = 0;
      const arrow::Status status = batches_->ReadNext(&batch_);
      if (!status.ok()) {
        failure = status.ToString();
        return false;
      }
      if (batch_ == nullptr) return false;
    }
    return true;
  }

  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t at_ = 0, count_ = 0;
};

}  // namespace
}  // namespace slipway::text

extern "C" __attribute__((visibility("default"))) slipway::text::ParquetReader* slipway_open_parquet(
    const std::string& path, std::string& failure) {
  try {
    auto reader = std::make_unique<slipway::text::Reader>();
    const arrow::Status status = reader->open(path);
    if (status.ok()) return reader.release();
    failure = status.ToString();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  return nullptr;
}
