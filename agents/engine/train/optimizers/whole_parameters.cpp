#include "agents/engine/train/optimizers/whole_parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace slipway::train {

namespace {

// A parameter on its own; its values and gradients are here during its update alone.
Parameters alone(const Parameter& parameter) {
  Parameters one;
  one.add(parameter);
  return one;
}

class WholeParameters : public Optimizer {
 public:
  WholeParameters(const OptimizerOptions& options, const Parameters& parameters, Ranks& ranks)
      : parameters_(parameters), ranks_(ranks) {
    std::vector<int64_t> load(static_cast<size_t>(ranks.size()), 0);
    for (const Parameter& parameter : parameters.list()) {
      Part part;
      part.owner = std::min_element(load.begin(), load.end()) - load.begin();
      load[static_cast<size_t>(part.owner)] += parameter.size;
      Parameters one = alone(parameter);
      one.allocate(at::kCPU, false);
      part.optimizer = make_optimizer(options, one);
      for (const StateTensor& tensor : part.optimizer->state()) {
        part.state.push_back({tensor.name, tensor.tensor.numel(), tensor.tensor.scalar_type()});
      }
      if (part.owner != ranks.rank()) part.optimizer.reset();
      parts_.push_back(std::move(part));
    }
  }

  void step(Parameters& own, double learning_rate, int64_t step) override {
    for (size_t unit = 0; unit < parameters_.unit_count(); ++unit) {
      const ParameterUnit& place = parameters_.unit(unit);
      if (place.begin == place.end) continue;
      const at::Tensor values = ranks_.gather_unit(own.values, unit);
      const at::Tensor gradients = ranks_.gather_unit(own.gradients, unit);
      at::Tensor updated = at::zeros_like(values);
      for (size_t i = 0; i < parts_.size(); ++i) {
        const Parameter& p = parameters_.list()[i];
        if (p.offset < place.begin || p.offset >= place.end || !parts_[i].optimizer) continue;
        Parameters one = alone(p);
        one.allocate(at::kCPU, true);
        one.values.copy_(values.narrow(0, p.offset - place.begin, p.size));
        one.gradients.copy_(gradients.narrow(0, p.offset - place.begin, p.size));
        parts_[i].optimizer->step(one, learning_rate, step);
        updated.narrow(0, p.offset - place.begin, p.size).copy_(one.values);
      }
      ranks_.add_up_unit(updated, unit, own.values);
    }
  }

  std::vector<StateTensor> state() override {
    std::vector<StateTensor> all;
    for (const Part& part : parts_) {
      if (!part.optimizer) continue;
      for (StateTensor& tensor : part.optimizer->state()) all.push_back(std::move(tensor));
    }
    return all;
  }

  // As one rank alone would have it: state of one name is one tensor, parameter after parameter.
  std::vector<StateTensor> whole_state(Ranks&, const Decoder&) override {
    std::vector<StateTensor> whole;
    for (const std::string& name : names()) {
      std::vector<at::Tensor> pieces;
      for_each_piece(name, [&](const Part& part, const Piece& piece, const at::Tensor& own) {
        at::Tensor here = at::zeros({piece.elements}, at::kFloat);
        if (own.defined()) here.copy_(own);
        if (part.owner != 0 && piece.elements > 0) ranks_.add_up(here);
        if (ranks_.is_first()) pieces.push_back(here.to(piece.type));
      });
      if (ranks_.is_first()) whole.push_back({name, at::cat(pieces)});
    }
    return whole;
  }

  void take_whole_state(const ReadState& read, Ranks&, const Decoder&) override {
    for (const std::string& name : names()) {
      int64_t elements = 0;
      at::ScalarType type = at::kFloat;
      for_each_piece(name, [&](const Part&, const Piece& piece, const at::Tensor&) {
        elements += piece.elements;
        type = piece.type;
      });
      const at::Tensor whole = read(name, elements, type);
      int64_t offset = 0;
      for_each_piece(name, [&](const Part& part, const Piece& piece, const at::Tensor& own) {
        at::Tensor here = at::zeros({piece.elements}, at::kFloat);
        if (ranks_.is_first()) here.copy_(whole.narrow(0, offset, piece.elements));
        if (part.owner != 0 && piece.elements > 0) ranks_.add_up(here);
        if (own.defined()) own.copy_(here);
        offset += piece.elements;
      });
    }
  }

 private:
  struct Piece {
    std::string name;
    int64_t elements = 0;
    at::ScalarType type = at::kFloat;
  };
  struct Part {
    int64_t owner = 0;                     // rank
    std::unique_ptr<Optimizer> optimizer;  // the owner's
    std::vector<Piece> state;
  };

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Part& part : parts_) {
      for (const Piece& piece : part.state) {
        if (std::find(names.begin(), names.end(), piece.name) == names.end()) names.push_back(piece.name);
      }
    }
    return names;
  }

  // Calls use(part, piece, the owner's tensor, elsewhere undefined) for all that has this name, in the parameters'
  // order.
  template <typename Use>
  void for_each_piece(const std::string& name, Use use) {
    for (const Part& part : parts_) {
      const std::vector<StateTensor> own = part.optimizer ? part.optimizer->state() : std::vector<StateTensor>();
      for (size_t k = 0; k < part.state.size(); ++k) {
        if (part.state[k].name == name) use(part, part.state[k], own.empty() ? at::Tensor() : own[k].tensor);
      }
    }
  }

  const Parameters& parameters_;
  Ranks& ranks_;
  std::vector<Part> parts_;  // beside the parameters
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, Decoder& decoder, Ranks& ranks) {
  const bool by_element = options.type == OptimizerType::kAdamW || options.type == OptimizerType::kLion;
  if (!ranks.moves_together() || by_element) return make_optimizer(options, ranks.own(decoder));
  return std::make_unique<WholeParameters>(options, decoder.parameters(), ranks);
}

}  // namespace slipway::train
