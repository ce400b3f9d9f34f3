// Sums and copies among the ranks' GPUs: NCCL on a stream of its own, beside the computation. Used by group.cpp.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agents/engine/train/parallel/nccl_module.h"
#include "agents/engine/train/parallel/socket.h"

namespace slipway::train {

struct NcclModule {
  MakeNcclId* make_id = nullptr;
  ConnectNccl* connect = nullptr;
};
// The module beside this program, or where it is installed; it stays loaded. Nothing where it is not there or its
// libraries are not.
std::optional<NcclModule> load_nccl();
// For the other ranks. Throws GpuRingBroken.
NcclId make_nccl_id(const NcclModule& module);

// NCCL has failed on this rank: of itself, or because another is lost.
struct GpuRingBroken {
  std::string reason;
};

// One thread, but for mark(). All ranks call the same operations in the same order, as those of Ring; they return when
// the data is there. Throws GpuRingBroken, after which nothing else can be done with it, and what `waiting` throws.
class GpuRing {
 public:
  // Waits for all ranks.
  GpuRing(const NcclModule& module, const NcclId& id, int64_t rank, int64_t size, at::Device device,
          WhileWaiting waiting);

  // Computed so far on the caller's stream: what is begun now waits for that, and for no more. Any thread.
  using Mark = std::shared_ptr<const c10::Event>;
  Mark mark() const;

  // Contiguous tensors on the device, behind `mark`.
  void all_reduce(const at::Tensor& values, const Mark& mark);
  void reduce_scatter(const at::Tensor& values, const Mark& mark);
  void all_gather(const at::Tensor& all, const Mark& mark);
  void broadcast(const at::Tensor& data, const Mark& mark);

 private:
  using Begin = std::function<bool(void* stream, std::string& failure)>;
  void run(const Mark& mark, const Begin& begin);
  // Until `done`, or an end by NCCL's failure or by `waiting`.
  void wait_until(const std::function<bool()>& done);
  bool is_ready();
  [[noreturn]] void end(const std::string& reason);

  int64_t size_;
  at::Device device_;
  WhileWaiting waiting_;
  c10::Stream stream_;
  std::unique_ptr<NcclCommunicator> communicator_;  // none once it has failed
};

}  // namespace slipway::train
