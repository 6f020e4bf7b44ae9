#pragma once
#include <fstream>
#include <string_view>

#include "assay/base/files.h"

namespace assay {

/// Without write_text's fsync: these tests write hundreds of files.
inline void write_plainly(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace assay
