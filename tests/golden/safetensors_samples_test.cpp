// fixtures/safetensors-samples, beside the vectors: files of the format written by somebody else, each tensor holding -3 to 2 in its dtype.
#include <ATen/ops/arange.h>

#include "assay/tensor/safetensors.h"
#include "support.h"

using namespace assay;

int assay::golden::safetensors_samples() {
  return golden::run("../fixtures/safetensors-samples", [](golden::Account& account, const fs::path& folder) {
    std::set<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".safetensors") files.insert(entry.path());
    for (const fs::path& path : files) {
      account.run_case(path.filename().string(), [&] {
        const SafetensorsFile file(path);
        account.equal(file.metadata().at("test"), std::string("a"), "metadata");
        for (const auto& [name, entry] : file.entries()) {
          const Tensor got = file.tensor(name);
          account.equal(got.sizes().vec(), entry.shape, name + ": shape");
          // Unsigned ones wrapped around, as the generator wrote them.
          const Tensor wanted = at::arange(-3, 3, at::kLong).to(got.scalar_type());
          account.check(got.equal(wanted), name + " (" + entry.dtype + "): values");
        }
      });
    }
  });
}
