#pragma once
// What the golden tests share: where the vectors are, and an account of what ran, what did not, and what failed.
//   int assay::golden::metrics() { return run("metrics", [](Account& account, const fs::path& folder) { ... }); }
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <type_traits>

#include "assay/base/files.h"
#include "assay/base/json.h"
#include "tests.h"

namespace assay::golden {

/// $ASSAY_GOLDEN, or a shared/data/golden beside the checkout.
inline fs::path root() {
  const char* set = std::getenv("ASSAY_GOLDEN");
  return set != nullptr && *set != '\0' ? fs::path(set) : fs::path(ASSAY_SOURCE_DIR) / "../shared/data/golden";
}

class Account {
 public:
  /// Runs one case: its checks are counted under its name, what it throws is a failure.
  void run_case(const std::string& name, const std::function<void()>& work) {
    case_ = name;
    const int checks = checks_, failures = failures_;
    try {
      work();
    } catch (const std::exception& e) {
      check(false, std::string("threw: ") + e.what());
    }
    if (checks_ == checks) check(false, "checked nothing");
    std::printf("%s %s: %d checks, %d failed\n", failures_ == failures ? "ran   " : "FAILED", name.c_str(), checks_ - checks,
                failures_ - failures);
    ++ran_;
  }
  /// A case that this version cannot run yet (a family that is not supported).
  void not_run(const std::string& name, const std::string& why) {
    std::printf("not run: %s (%s)\n", name.c_str(), why.c_str());
    ++not_run_;
  }

  bool check(bool good, const std::string& what) {
    ++checks_;
    if (!good && ++failures_ <= kShown) std::printf("  failed: %s: %s\n", case_.c_str(), what.c_str());
    return good;
  }
  template <class Got, class Wanted>
  bool equal(const Got& got, const Wanted& wanted, const std::string& what) {
    if (got == wanted) return check(true, what);
    return check(false, what + "\n    got    " + dump(Json(got)) + "\n    wanted " + dump(Json(wanted)));
  }
  /// |got - wanted| <= absolute + relative * |wanted|; two nans agree.
  bool near(double got, double wanted, double absolute, const std::string& what, double relative = 0) {
    const bool good = (std::isnan(got) && std::isnan(wanted)) || std::abs(got - wanted) <= absolute + relative * std::abs(wanted);
    char text[160];
    std::snprintf(text, sizeof text, ": got %.17g, wanted %.17g, off by %.3g", got, wanted, std::abs(got - wanted));
    largest_ = std::isfinite(got - wanted) ? std::max(largest_, std::abs(got - wanted)) : largest_;
    return check(good, what + (good ? "" : text));
  }

  /// Prints the sums; the exit code: 0 only where something ran and nothing failed.
  [[nodiscard]] int finish() const {
    if (failures_ > kShown) std::printf("  … and %d more failed checks\n", failures_ - kShown);
    std::printf("%d cases ran, %d not run; %d checks, %d failed; largest difference %.3g\n", ran_, not_run_, checks_, failures_, largest_);
    return failures_ == 0 && ran_ > 0 ? 0 : 1;
  }

 private:
  static constexpr int kShown = 30;
  std::string case_;
  int ran_ = 0, not_run_ = 0, checks_ = 0, failures_ = 0;
  double largest_ = 0;
};

/// A model that a package registry ships: the folder that the variable names, else models/NAME beside the sources (make test-all fetches
/// it).
inline fs::path fetched_model(const char* variable, const char* name) {
  const char* set = std::getenv(variable);
  return set != nullptr && *set != '\0' ? fs::path(set) : fs::path(ASSAY_SOURCE_DIR) / "models" / name;
}

/// A case that could not be loaded: not run where its family or an option of it is not supported, a failure otherwise.
inline void unsupported_or_failed(Account& account, const std::string& name, const Error& error) {
  if (error.message().find("is not supported") != std::string::npos) return account.not_run(name, error.message());
  account.run_case(name, [&] { account.check(false, error.message()); });
}

/// The whole of a golden test over ROOT/part. Without that folder it says so and returns 77: a skip for CTest.
template <class Work>
int run(const std::string& part, const Work& work) {
  const fs::path folder = root() / part;
  if (!fs::is_directory(folder)) {
    std::printf("skipped: there are no vectors in %s (set ASSAY_GOLDEN)\n", folder.c_str());
    return 77;
  }
  Account account;
  try {
    work(account, folder);
  } catch (const std::exception& e) {
    account.check(false, std::string("the vectors: ") + e.what());
  }
  return account.finish();
}

}  // namespace assay::golden
