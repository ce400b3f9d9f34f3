# slipway_library(NAME SOURCES ... LINK ... [PRIVATE_LINK ...]), slipway_program and slipway_test: our targets, with our warnings.
# Includes are written from the repository's root: #include "agents/engine/text/tokenizer.h".
set(SLIPWAY_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror
    -Wno-error=maybe-uninitialized -Wno-error=deprecated-declarations)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND SLIPWAY_WARNINGS -Wno-unknown-warning-option)  # some of these are GCC's alone
endif()

function(slipway_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
  target_link_libraries(${name} PUBLIC ${arg_LINK} PRIVATE ${arg_PRIVATE_LINK})
  target_compile_options(${name} PRIVATE ${SLIPWAY_WARNINGS})
endfunction()

# An executable: a thin main over libraries, in build/bin.
function(slipway_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  target_compile_options(${name} PRIVATE ${SLIPWAY_WARNINGS})
endfunction()

# A GoogleTest program, registered with ctest under its own name. Tests must not depend on the working folder.
function(slipway_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${SLIPWAY_WARNINGS})
  target_compile_definitions(${name} PRIVATE SLIPWAY_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    SLIPWAY_BINARY_DIR="${CMAKE_BINARY_DIR}" SLIPWAY_DEPS="${SLIPWAY_DEPS}" SLIPWAY_SITE_PACKAGES="${SLIPWAY_SITE_PACKAGES}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS "${arg_LABELS}")
endfunction()

# A pytest file, run by the interpreter that packaging/setup.sh prepared.
function(slipway_pytest name file)
  cmake_parse_arguments(arg "" "TIMEOUT" "LABELS" ${ARGN})
  add_test(NAME ${name} COMMAND ${SLIPWAY_PYTHON} -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
    ENVIRONMENT "SLIPWAY_BIN=${CMAKE_BINARY_DIR}/bin;SLIPWAY_TESTS=${CMAKE_BINARY_DIR}/tests;SLIPWAY_SOURCE=${CMAKE_SOURCE_DIR};SLIPWAY_DEPS=${SLIPWAY_DEPS};HF_HUB_OFFLINE=1;PYTHONDONTWRITEBYTECODE=1")
endfunction()

# A libFuzzer program in <build>/fuzz, built with the target `fuzzers` when SLIPWAY_FUZZ is on (make fuzz runs them all).
function(slipway_fuzzer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  if(NOT SLIPWAY_FUZZ)
    return()
  endif()
  add_executable(${name} EXCLUDE_FROM_ALL ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  add_dependencies(fuzzers ${name})
endfunction()
