#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "assay/base/descriptor.h"
#include "assay/base/files.h"

namespace assay {

FolderLock::FolderLock(const fs::path& folder) {
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) detail::fail_at("lock", "cannot create the folder", folder, ec.value());
  const fs::path file = folder / ".lock";
  detail::Descriptor fd = detail::open_file(file, O_RDWR | O_CREAT, "lock");
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) detail::fail_at("lock", "cannot lock", folder, errno);
    std::string holder = read_text(file);
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    throw Error("lock", folder.string() + " is in use by another process" + (holder.empty() ? "" : " (pid " + holder + ")"),
                "wait until it has finished, or give another folder");
  }
  // The number is for the message above; the lock holds without it, on a full disk too.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) == 0) (void)!::pwrite(fd.get(), pid.data(), pid.size(), 0);
  fd_ = fd.release();
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);  // the file stays: removing it would let two processes lock two files of the same name
}

FolderLock::FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

}  // namespace assay
