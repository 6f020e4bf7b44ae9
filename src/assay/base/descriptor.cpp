#include "assay/base/descriptor.h"

#include <fcntl.h>

#include <cerrno>
#include <system_error>

namespace assay::detail {

void fail_at(const std::string& operation, const std::string& what, const std::filesystem::path& path, int error_number) {
  std::string reason = std::generic_category().message(error_number);
  std::string hint;
  std::error_code ec;
  switch (error_number) {
    case ENOENT:
      if (const auto folder = path.parent_path(); !folder.empty() && !std::filesystem::exists(folder, ec)) {
        reason = "the folder " + folder.string() + " does not exist";
      } else {
        reason = "no such file or folder";
      }
      break;
    case ENOSPC:
    case EDQUOT:
      reason = "the disk is full", hint = "free some space, then run the same command again";
      break;
    case EACCES:
    case EPERM:
      reason = "no permission", hint = "look at the owner and mode with ls -l";
      break;
    case EROFS:
      reason = "the file system is read-only";
      break;
    case EISDIR:
      reason = "it is a folder";
      break;
    case ENOTDIR:
      reason = "it, or a part of its path, is a file where a folder is needed";
      break;
    default:
      break;
  }
  throw Error(operation, what + " " + path.string() + ": " + reason, hint);
}

Descriptor open_file(const std::filesystem::path& path, int flags, const std::string& operation) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (fd >= 0) return Descriptor(fd);
    if (errno != EINTR) fail_at(operation, (flags & O_ACCMODE) == O_RDONLY ? "cannot read" : "cannot write", path, errno);
  }
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_at("file write", "cannot write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void sync_or_fail(int fd, const std::filesystem::path& path) {
  if (::fsync(fd) != 0 && errno != EINVAL) fail_at("file write", "cannot sync", path, errno);
}

}  // namespace assay::detail
