# Everything from outside: Debian 12's packages, and libtorch from its wheel. Versions: packaging/.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(Boost 1.81 REQUIRED)
if(SLIPWAY_SANITIZE STREQUAL "thread")
  # Asio's fences: the sanitizer does not see them, its queues are locked all the same.
  target_compile_options(Boost::headers INTERFACE -Wno-tsan)
endif()
find_package(GTest REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc icu-i18n)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
find_package(SQLiteCpp REQUIRED)

set(SLIPWAY_PYTHON ${SLIPWAY_DEPS}/venv/bin/python)
file(GLOB slipway_site_packages ${SLIPWAY_DEPS}/venv/lib/python3.*/site-packages)
set(SLIPWAY_SITE_PACKAGES ${slipway_site_packages} CACHE INTERNAL "")

# libtorch: an imported target of our own, because Torch's CMake config insists on a full CUDA toolkit. Linking torch_cpu
# and c10 alone lets the CUDA wheel serve machines without a GPU; slipway-train loads libtorch_cuda when it is there. The
# `cuda` preset takes the CUDA wheel that `packaging/setup.sh --cuda` puts beside the other.
if(SLIPWAY_BUILD_TRAIN)
  set(torch_packages ${SLIPWAY_SITE_PACKAGES})
  if(SLIPWAY_CUDA)
    file(GLOB torch_packages ${SLIPWAY_DEPS}/venv-cuda/lib/python3.*/site-packages)
  endif()
  set(SLIPWAY_TORCH_ROOT ${torch_packages}/torch CACHE INTERNAL "")
  if(NOT EXISTS ${SLIPWAY_TORCH_ROOT}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "libtorch is not at '${SLIPWAY_TORCH_ROOT}'. Run packaging/setup.sh (with --cuda for the cuda preset), or configure with -DSLIPWAY_BUILD_TRAIN=OFF.")
  endif()
  add_library(slipway_torch INTERFACE)
  target_include_directories(slipway_torch SYSTEM INTERFACE
    ${SLIPWAY_TORCH_ROOT}/include ${SLIPWAY_TORCH_ROOT}/include/torch/csrc/api/include)
  # at::parallel_for is a template that runs on one thread where OpenMP is off; its runtime must be libtorch's own.
  file(GLOB torch_openmp ${SLIPWAY_TORCH_ROOT}/lib/libgomp*)
  target_compile_options(slipway_torch INTERFACE -fopenmp)
  target_link_libraries(slipway_torch INTERFACE
    ${SLIPWAY_TORCH_ROOT}/lib/libtorch_cpu.so ${SLIPWAY_TORCH_ROOT}/lib/libc10.so ${torch_openmp})
  target_link_options(slipway_torch INTERFACE -Wl,-rpath,${SLIPWAY_TORCH_ROOT}/lib -Wl,--allow-shlib-undefined)
  file(GLOB nvidia_libraries LIST_DIRECTORIES true ${torch_packages}/nvidia/*/lib)
  foreach(folder ${nvidia_libraries})
    target_link_options(slipway_torch INTERFACE -Wl,-rpath,${folder})
  endforeach()
endif()

# XGrammar and the tvm-ffi it is called through, from their wheels: libslipway_grammar.so alone links them.
set(tvm_ffi_root ${SLIPWAY_SITE_PACKAGES}/tvm_ffi)
set(SLIPWAY_XGRAMMAR ${SLIPWAY_SITE_PACKAGES}/xgrammar/libxgrammar_bindings.so)
set(SLIPWAY_TVM_FFI ${tvm_ffi_root}/lib/libtvm_ffi.so)
if(EXISTS ${SLIPWAY_XGRAMMAR} AND EXISTS ${SLIPWAY_TVM_FFI})
  add_library(slipway_tvm_ffi INTERFACE)
  target_include_directories(slipway_tvm_ffi SYSTEM INTERFACE ${tvm_ffi_root}/include ${tvm_ffi_root}/3rdparty/dlpack/include)
  # XGrammar's classes are found by name: nothing of its library is called, and yet it must be there.
  target_link_libraries(slipway_tvm_ffi INTERFACE -Wl,--no-as-needed ${SLIPWAY_XGRAMMAR} ${SLIPWAY_TVM_FFI})
else()
  message(STATUS "XGrammar's wheels are not at ${SLIPWAY_SITE_PACKAGES}: slipway-serve is built without constrained output")
endif()

# Arrow and Parquet from pyarrow's wheel, whose libraries carry their version in their names: libslipway_parquet.so alone
# links them.
set(arrow_root ${SLIPWAY_SITE_PACKAGES}/pyarrow)
file(GLOB SLIPWAY_ARROW_LIBRARIES ${arrow_root}/libarrow.so.[0-9]* ${arrow_root}/libparquet.so.[0-9]*)
if(SLIPWAY_ARROW_LIBRARIES)
  add_library(slipway_arrow INTERFACE)
  target_include_directories(slipway_arrow SYSTEM INTERFACE ${arrow_root}/include)
  target_link_libraries(slipway_arrow INTERFACE ${SLIPWAY_ARROW_LIBRARIES})
  target_link_options(slipway_arrow INTERFACE -Wl,-rpath,${arrow_root} -Wl,--allow-shlib-undefined)
else()
  message(STATUS "pyarrow's wheel is not at ${SLIPWAY_SITE_PACKAGES}: the engines are built without Parquet")
endif()
