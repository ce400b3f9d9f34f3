// How a deployment's replicas are to serve: what is asked of slipway-serve beside the model.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::domain {

// A number of 0 leaves the choice to the engine, and so does "auto".
struct ServingSettings {
  std::string dtype = "auto";           // of the weights: auto, f32, bf16, int8, int4
  std::string kv_cache_dtype = "auto";  // auto, f32, bf16, int8
  int64_t max_model_len = 0;            // tokens of a prompt and its answer together
  int64_t max_num_seqs = 0;             // requests in one batch
  int64_t queue = 0;                    // requests that may wait beyond them
  int64_t kv_cache_tokens = 0;          // that the cache holds, of all requests together
  int64_t threads = 0;
  int64_t speculative_tokens = 0;  // guessed from the text per step; 0: none

  bool operator==(const ServingSettings&) const = default;
};

}  // namespace slipway::domain
