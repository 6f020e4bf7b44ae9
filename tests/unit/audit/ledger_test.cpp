#include "assay/audit/game/ledger.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>
#include <limits>

#include <cstdlib>
#include <thread>

#include "../error_of.h"
#include "assay/base/files.h"

namespace assay {
namespace {

class LedgerTest : public ::testing::Test {
 protected:
  TemporaryFolder folder;
  fs::path file = folder.path() / "ledger.sqlite";
  const LedgerEntry first{"", "", "new", {{"targets", 2}}, 0, 0, 0};
  const LedgerEntry query{"red", "T1", "ask", {{"samples", 3}}, 3, 30, 0.25};

  /// What an owner of the file can do who knows SQLite.
  void tamper(const std::string& sql) const {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
    char* why = nullptr;
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, &why), SQLITE_OK) << why;
    sqlite3_close(database);
  }
  std::string verified() const {
    return error_of([&] { (void)Ledger(file).verify("root"); });
  }
};

TEST_F(LedgerTest, RowsAreChainedAndSummed) {
  Ledger ledger = Ledger::create(file, "root", first);
  ledger.append(query);
  ledger.append({"blue", "T1", "ask", {}, 5, 50, 1});
  const LedgerRow row = ledger.append({"red", "T1", "unused", {}, 0, -10, 0.5});
  EXPECT_EQ(row.id, 4);
  const auto rows = ledger.rows();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].previous, "root");
  for (std::size_t i = 1; i < rows.size(); ++i) EXPECT_EQ(rows[i].previous, rows[i - 1].hash);
  EXPECT_EQ(rows[1].what["samples"], 3);
  EXPECT_EQ(ledger.rows("red", "T1").size(), 2u);
  const AuditCost cost = ledger.spent("red", "T1");
  EXPECT_EQ(cost.queries, 3);
  EXPECT_EQ(cost.tokens, 20);
  EXPECT_DOUBLE_EQ(cost.wall_s, 0.75);
  const auto head = ledger.verify("root");
  EXPECT_EQ(head.rows, 4);
  EXPECT_EQ(head.hash, row.hash);
}

TEST_F(LedgerTest, TriggersRefuseChanges) {
  Ledger::create(file, "root", first).append(query);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  EXPECT_NE(sqlite3_exec(database, "UPDATE ledger SET queries = 0 WHERE id = 2", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_NE(sqlite3_exec(database, "DELETE FROM ledger WHERE id = 2", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  EXPECT_EQ(verified(), "");
}

TEST_F(LedgerTest, EveryEditShows) {
  const auto made = [&] {
    for (const char* end : {"", "-wal", "-shm"}) fs::remove(file.string() + end);
    Ledger ledger = Ledger::create(file, "root", first);
    for (int i = 0; i < 4; ++i) ledger.append(query);
  };
  const std::string off = "DROP TRIGGER no_update; DROP TRIGGER no_delete; ";
  const std::vector<std::pair<std::string, std::string>> edits = {
      {"UPDATE ledger SET queries = 1 WHERE id = 3", "row 3 of"},
      {"UPDATE ledger SET seconds = 0 WHERE id = 2", "row 2 of"},
      {"UPDATE ledger SET what = '{}' WHERE id = 5", "row 5 of"},
      {"UPDATE ledger SET team = 'blue' WHERE id = 1", "row 1 of"},
      {"DELETE FROM ledger WHERE id = 3", "row 3 of"},
      {"DELETE FROM ledger WHERE id > 3", "last rows were deleted"},
      {"DELETE FROM ledger WHERE id = 3; UPDATE ledger SET id = 3 WHERE id = 4; UPDATE ledger SET id = 4 WHERE id = 5", "row 3 of"},
      {"UPDATE ledger SET id = 9 WHERE id = 2; UPDATE ledger SET id = 2 WHERE id = 3; UPDATE ledger SET id = 3 WHERE id = 9", "row 2 of"},
      {"DELETE FROM ledger", "last rows were deleted"},
  };
  for (const auto& [sql, says] : edits) {
    made();
    tamper(off + sql);
    EXPECT_NE(verified().find(says), std::string::npos) << sql << ": " << verified();
  }
  made();
  EXPECT_NE(error_of([&] { (void)Ledger(file).verify("another root"); }).find("row 1"), std::string::npos);
}

TEST_F(LedgerTest, TheBudgetIsRefusedBeforeAnythingIsWritten) {
  Ledger ledger = Ledger::create(file, "root", first);
  ledger.append(query, {7, 0});
  ledger.append(query, {7, 0});
  const std::string why = error_of([&] { ledger.append(query, {7, 0}); });
  for (const char* part : {"budget of 7 queries", "6 are used", "3 more", "red", "T1"}) EXPECT_NE(why.find(part), std::string::npos) << why;
  EXPECT_NE(error_of([&] { ledger.append(query, {0, 80}); }).find("budget of 80 tokens"), std::string::npos);
  LedgerEntry endless = query;  // a sum that would wrap is above the budget, too
  endless.tokens = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(error_of([&] { ledger.append(endless, {0, 1000}); }).find("budget of 1000 tokens"), std::string::npos);
  EXPECT_EQ(ledger.verify("root").rows, 3);
  ledger.append({"blue", "T1", "ask", {}, 7, 0, 0}, {7, 0});
  ledger.append({"red", "T1", "note", {}, 0, 0, 0}, {7, 0});
}

// Processes and not threads: that is how a game is used.
TEST_F(LedgerTest, ManyProcessesAppendAtATime) {
  Ledger::create(file, "root", first);
  std::vector<pid_t> children;
  for (int c = 0; c < 3; ++c) {
    children.push_back(::fork());
    if (children.back() == 0) {
      try {
        Ledger ledger(file);
        for (int i = 0; i < 20; ++i) ledger.append({"team" + std::to_string(c), "T1", "ask", {}, 1, 1, 0}, {50, 0});
        std::_Exit(0);
      } catch (...) {
        std::_Exit(1);
      }
    }
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  Ledger ledger(file);
  EXPECT_EQ(ledger.verify("root").rows, 61);
  for (int c = 0; c < 3; ++c) EXPECT_EQ(ledger.spent("team" + std::to_string(c), "T1").queries, 20);
}

TEST_F(LedgerTest, SurvivesKill) {
  Ledger::create(file, "root", first);
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Ledger ledger(file);
    for (std::int64_t i = 1;; ++i) {
      const std::int64_t id = ledger.append(query).id;
      if (::write(pipe[1], &id, sizeof id) < 0) std::_Exit(1);
    }
  }
  std::int64_t last = 0;
  while (last < 15) ASSERT_EQ(::read(pipe[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(pipe[1]);
  while (::read(pipe[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
  }
  ::close(pipe[0]);
  Ledger ledger(file);
  const auto head = ledger.verify("root");
  EXPECT_GE(head.rows, last) << "a row that was reported is on the disk";
  EXPECT_EQ(ledger.append(query).id, head.rows + 1);
}

TEST_F(LedgerTest, WhatIsNoLedgerIsAnError) {
  EXPECT_NE(error_of([&] { Ledger ledger(file); }).find("is missing"), std::string::npos);
  write_text(file, std::string(5000, 'x'));
  EXPECT_NE(error_of([&] { Ledger ledger(file); }).find("ledger.sqlite"), std::string::npos);
  fs::remove(file);
  tamper("CREATE TABLE other (a)");
  EXPECT_NE(error_of([&] { Ledger ledger(file); }).find("is no ledger"), std::string::npos);
  EXPECT_NE(error_of([&] { Ledger::create(file, "root", first); }).find("is there already"), std::string::npos);
}

TEST_F(LedgerTest, MeterChargesFirstAndGivesBack) {
  Ledger::create(file, "root", first);
  LedgerMeter meter(file, "red", "T1", {10, 100});
  meter.charge({"ask", {}, 4, 80});
  EXPECT_EQ(meter.spent().tokens, 80);
  EXPECT_NE(error_of([&] { meter.charge({"ask", {}, 1, 30}); }).find("budget of 100 tokens"), std::string::npos);
  meter.settle({"ask", {{"tokens", 20}}, 0, 60});
  meter.charge({"ask", {}, 1, 30});
  EXPECT_EQ(meter.spent().tokens, 50);
  EXPECT_NE(error_of([&] { meter.check(6); }).find("budget of 10 queries"), std::string::npos);
  meter.check(5);
  meter.note("judgement", {{"arms", Json::object()}});
  std::vector<std::string> kinds;
  for (const LedgerRow& row : Ledger(file).rows("red", "T1")) kinds.push_back(row.kind);
  EXPECT_EQ(kinds, (std::vector<std::string>{"ask", "unused", "ask", "judgement"}));
}

}  // namespace
}  // namespace assay
