# The Rust crate in bridge/: one static library with a C ABI.
find_program(ASSAY_CARGO cargo HINTS $ENV{HOME}/.cargo/bin REQUIRED)
set(ASSAY_BRIDGE_DIR ${CMAKE_BINARY_DIR}/bridge CACHE PATH "cargo's target folder")
set(bridge_library ${ASSAY_BRIDGE_DIR}/release/libassay_bridge.a)
file(GLOB_RECURSE bridge_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bridge/src/*.rs)
add_custom_command(
  OUTPUT ${bridge_library}
  COMMAND ${ASSAY_CARGO} build --release --locked --quiet --manifest-path ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml
          --target-dir ${ASSAY_BRIDGE_DIR}
  DEPENDS ${bridge_sources} ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml ${CMAKE_SOURCE_DIR}/bridge/Cargo.lock
  COMMENT "Building the tokenizer and template bridge (cargo)" USES_TERMINAL)
add_custom_target(assay_bridge_build DEPENDS ${bridge_library})
add_library(assay_bridge INTERFACE)
add_dependencies(assay_bridge assay_bridge_build)
target_include_directories(assay_bridge INTERFACE ${CMAKE_SOURCE_DIR}/bridge/include)
target_link_libraries(assay_bridge INTERFACE ${bridge_library} Threads::Threads ${CMAKE_DL_LIBS} m)
