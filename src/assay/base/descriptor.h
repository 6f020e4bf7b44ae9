#pragma once
// POSIX file descriptors as the files of this room use them; no part of the room's interface.
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "assay/base/error.h"

namespace assay::detail {

/// Closes what it holds.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Throws an Error that says what failed at which path and why, with a hint where one helps.
[[noreturn]] void fail_at(const std::string& operation, const std::string& what, const std::filesystem::path& path, int error_number);
/// open(2) with O_CLOEXEC, mode 0666; an Error where it fails.
Descriptor open_file(const std::filesystem::path& path, int flags, const std::string& operation);
/// Writes everything, whatever the number of system calls; `path` is for the Error.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);
void sync_or_fail(int fd, const std::filesystem::path& path);

}  // namespace assay::detail
