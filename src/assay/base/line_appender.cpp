#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cerrno>

#include "assay/base/descriptor.h"
#include "assay/base/files.h"

namespace assay {
namespace {

/// Where the last whole line of an open file ends: just behind its last newline.
off_t end_of_whole_lines(int fd, const fs::path& path) {
  std::array<char, 4096> buffer;
  off_t end = ::lseek(fd, 0, SEEK_END);
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(buffer.size()));
    const ssize_t n = ::pread(fd, buffer.data(), static_cast<std::size_t>(end - begin), begin);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) detail::fail_at("file append", "cannot read", path, n < 0 ? errno : EIO);
    const std::string_view chunk(buffer.data(), static_cast<std::size_t>(n));
    if (const auto at = chunk.rfind('\n'); at != std::string_view::npos) return begin + static_cast<off_t>(at) + 1;
    end = begin;
  }
  return 0;
}

}  // namespace

LineAppender::LineAppender(const fs::path& path) : path_(path) {
  detail::Descriptor fd = detail::open_file(path, O_RDWR | O_CREAT | O_APPEND, "file append");
  // A device is nobody's own; some network file systems know no locks: only a lock that somebody holds is a reason to stop.
  if (std::filesystem::is_regular_file(path) && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw Error("file append", path.string() + " is being written by another process", "wait until it has finished, or give another file");
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  if (size > 0) {  // pipes and terminals have no size and no torn line
    const off_t whole = end_of_whole_lines(fd.get(), path);
    if (whole < size && ::ftruncate(fd.get(), whole) != 0) detail::fail_at("file append", "cannot repair the last line of", path, errno);
  }
  fd_ = fd.release();
}

LineAppender::~LineAppender() {
  if (fd_ >= 0) ::close(fd_);
}

LineAppender::LineAppender(LineAppender&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

LineAppender& LineAppender::operator=(LineAppender&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

void LineAppender::append(std::string_view line) {
  assert(fd_ >= 0 && line.find('\n') == std::string_view::npos);
  std::string whole(line);
  whole += '\n';
  std::string_view left = whole;
  while (!left.empty()) {
    const ssize_t n = ::write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // A part of the line may have fitted on the disk: take it back, the file holds whole lines only.
      const off_t written = static_cast<off_t>(whole.size() - left.size());
      if (const off_t size = ::lseek(fd_, 0, SEEK_END); written > 0 && size >= written) (void)!::ftruncate(fd_, size - written);
      detail::fail_at("file append", "cannot write", path_, error);
    }
    left.remove_prefix(static_cast<std::size_t>(n));
  }
}

void LineAppender::sync() { detail::sync_or_fail(fd_, path_); }

}  // namespace assay
