# Everything the build takes from outside. scripts/setup.sh brings what is missing and prints the libtorch folder.
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(fmt REQUIRED)
find_path(ASSAY_TOMLPP_INCLUDE toml++/toml.h REQUIRED)
find_path(ASSAY_CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
find_path(ASSAY_SQLITE_INCLUDE sqlite3.h REQUIRED)
find_library(ASSAY_SQLITE_LIBRARY sqlite3 REQUIRED)
find_path(ASSAY_SODIUM_INCLUDE sodium.h REQUIRED)
find_library(ASSAY_SODIUM_LIBRARY sodium REQUIRED)
find_path(ASSAY_HIGHWAY_INCLUDE hwy/highway.h REQUIRED)
find_library(ASSAY_HIGHWAY_LIBRARY hwy REQUIRED)
find_path(ASSAY_RE2_INCLUDE re2/re2.h REQUIRED)
find_library(ASSAY_RE2_LIBRARY re2 REQUIRED)

find_package(ZLIB REQUIRED)

if(NOT ASSAY_TORCH_DIR)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/setup.sh OUTPUT_VARIABLE ASSAY_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE
                  COMMAND_ERROR_IS_FATAL ANY)
  set(ASSAY_TORCH_DIR ${ASSAY_TORCH_DIR} CACHE PATH "The folder that holds libtorch's lib/ and include/")
endif()
message(STATUS "libtorch: ${ASSAY_TORCH_DIR}")

# find_package(Torch) of a CUDA wheel asks for a CUDA toolkit, so the two libraries are named directly.
add_library(assay_torch INTERFACE)
target_include_directories(assay_torch SYSTEM INTERFACE ${ASSAY_TORCH_DIR}/include ${ASSAY_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(assay_torch INTERFACE ASSAY_TORCH_VERSION="2.11.0")
# libtorch's include folder brings a newer fmt than Debian's library: compiled once here, not in every file that sees it.
add_library(assay_fmt STATIC ${CMAKE_CURRENT_LIST_DIR}/fmt_of_libtorch.cpp)
target_include_directories(assay_fmt SYSTEM PRIVATE ${ASSAY_TORCH_DIR}/include)
target_link_libraries(assay_torch INTERFACE assay_fmt)
target_link_libraries(assay_torch INTERFACE ${ASSAY_TORCH_DIR}/lib/libtorch_cpu.so ${ASSAY_TORCH_DIR}/lib/libc10.so)
# at::parallel_for is a template: without OpenMP in our own files it is a plain loop. The runtime is the one that libtorch brings, so that there
# is one pool of threads. (Clang knows another runtime only: its builds, the fuzzers, stay on one thread.)
file(GLOB libtorch_openmp ${ASSAY_TORCH_DIR}/lib/libgomp*.so* ${ASSAY_TORCH_DIR}/../torch.libs/libgomp*.so*)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  if(NOT libtorch_openmp)
    find_package(OpenMP REQUIRED)
    set(libtorch_openmp ${OpenMP_gomp_LIBRARY})
  endif()
  list(GET libtorch_openmp 0 libtorch_openmp)
  target_compile_options(assay_torch INTERFACE -fopenmp)
  target_link_libraries(assay_torch INTERFACE ${libtorch_openmp})
endif()
# libtorch_cpu.so names two CUDA companions that only its own run path finds.
target_link_options(assay_torch INTERFACE -Wl,--allow-shlib-undefined -Wl,-rpath,${ASSAY_TORCH_DIR}/lib)

add_library(assay_base_dependencies INTERFACE)
target_include_directories(assay_base_dependencies SYSTEM INTERFACE
  ${ASSAY_TOMLPP_INCLUDE} ${ASSAY_CLI11_INCLUDE} ${ASSAY_SQLITE_INCLUDE} ${ASSAY_SODIUM_INCLUDE} ${ASSAY_HIGHWAY_INCLUDE} ${ASSAY_RE2_INCLUDE})
target_link_libraries(assay_base_dependencies INTERFACE
  Threads::Threads nlohmann_json::nlohmann_json fmt::fmt ${ASSAY_SQLITE_LIBRARY} ${ASSAY_SODIUM_LIBRARY} ${ASSAY_HIGHWAY_LIBRARY} ${ASSAY_RE2_LIBRARY} ZLIB::ZLIB ${CMAKE_DL_LIBS})
