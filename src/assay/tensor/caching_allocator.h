#pragma once
#include <cstddef>

namespace assay {

/// Makes libtorch take CPU memory from blocks that are kept and handed out again, so that a training step maps nothing anew: blocks of 8
/// sizes an octave, large ones on huge pages. What is kept unused never exceeds a quarter of the machine's memory. For the rest of the
/// program; calling it again does nothing.
void install_caching_allocator();

/// Bytes that are kept but not in use.
std::size_t cached_bytes();
/// Gives them back to the system.
void release_cached_memory();

}  // namespace assay
