#include "agents/engine/serve/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace slipway::serve {

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  size_t first = std::string::npos, length = 0;
  for (const std::string& stop : stops_) {
    const size_t found = held_.find(stop);
    if (found < first) {
      first = found;
      length = stop.size();
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, first + (include_ ? length : 0));
    held_.clear();
    return out;
  }
  // The longest end of the text that begins a stop string.
  size_t hold = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > hold; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) {
        hold = n;
        break;
      }
    }
  }
  std::string out = held_.substr(0, held_.size() - hold);
  held_.erase(0, held_.size() - hold);
  // A stop string begins with a whole character and so does what is held: the cut is between characters.
  return out;
}

std::string StopMatcher::pass(std::string_view text) {
  std::string out = std::exchange(held_, "");
  out += text;
  return out;
}

std::string StopMatcher::flush() { return std::exchange(held_, ""); }

}  // namespace slipway::serve
