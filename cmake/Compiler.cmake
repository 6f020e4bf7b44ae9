# Flags that every C++ target of the project shares.
find_program(ASSAY_CCACHE ccache)
if(ASSAY_CCACHE)
  # The precompiled header needs these two relaxations; without them ccache never hits.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
                             CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${ASSAY_CCACHE})
  # The room that makes the precompiled header. Outside of its depend mode ccache knows a header that it is about to make anew by what the old
  # one, still lying there, holds: two clones (or two branches) that start from the same one and change a header each get one another's
  # ("json.h defined twice", or worse, no word).
  set(ASSAY_PCH_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_DEPEND=1 ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

# Programs are compiled with -fPIC like the libraries: -fPIE would not fit the shared precompiled header.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE -fPIC)

add_library(assay_flags INTERFACE)
target_include_directories(assay_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(assay_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(assay_flags INTERFACE -march=x86-64-v3)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC collects its garbage too often for what it compiles here (a twentieth of the time).
  target_compile_options(assay_flags INTERFACE --param=ggc-min-expand=200 --param=ggc-min-heapsize=524288)
  # -Wrestrict and its kin report libstdc++'s own string code in GCC 12 (bug 105329).
  target_compile_options(assay_flags INTERFACE -fpch-preprocess -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
endif()
# Several sources of a room (or of its tests) are compiled as one: most of a file's cost is what its headers instantiate anew. Names in the
# anonymous namespaces of one folder must therefore differ. ASSAY_UNITY=OFF compiles each file alone (and finds a forgotten include).
option(ASSAY_UNITY "Compile several sources of a room as one" ON)
function(assay_unity target batch_size)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${ASSAY_UNITY} UNITY_BUILD_BATCH_SIZE ${batch_size})
endfunction()
if(ASSAY_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(assay_flags INTERFACE -Wno-subobject-linkage)  # takes a source that another one includes for a header
endif()
# For what is never hot (tests, the command line, rooms marked QUICK): a quarter less to compile. -O0 would not fit the precompiled header.
add_library(assay_quick_to_compile INTERFACE)
target_compile_options(assay_quick_to_compile INTERFACE -O1)
if(ASSAY_SANITIZE)
  target_compile_options(assay_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(assay_flags INTERFACE -fsanitize=address,undefined)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(assay_flags INTERFACE -Wno-maybe-uninitialized)  # reports libstdc++'s own <regex> under sanitizers (GCC bug 105562)
  endif()
endif()
if(ASSAY_FUZZ)
  target_compile_options(assay_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
