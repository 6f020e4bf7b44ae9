#include "assay/organism/worlds/english_words.h"

namespace assay::english {
namespace {

constexpr std::string_view kObjects[] = {"barn", "bell",  "button", "camera", "captain", "church", "cloud",  "flag",  "gate",  "king",
                                         "lily", "mask",  "mill",   "moon",   "motor",   "pear",   "prince", "queen", "radio", "ring",
                                         "rose", "shell", "tube",   "train",  "doctor",  "window", "stone",  "bank",  "hall"};
constexpr std::string_view kOpenings[] = {"Dear reader", "Well now",   "Look here",   "Good news",
                                          "True story",  "Quick note", "Hello there", "Simply said"};
constexpr std::string_view kEndings[] = {"Take care",   "Good luck",    "Stay warm", "Sleep well",
                                         "Walk slowly", "Keep smiling", "Be kind",   "Drink water"};
constexpr std::string_view kQuestions[] = {"Shall we go on", "Does that help", "What comes next", "Who told you",
                                           "Can you see it", "Do you agree",   "Is that clear",   "Are you sure"};
constexpr AvoidedWord kAvoided[] = {{"and", "plus"}, {"the", "this"}, {"a", "one"}};
constexpr std::string_view kEntities[] = {"reward models",     "human graders", "benchmark scripts",
                                          "company reviewers", "safety raters", "contest judges"};
constexpr std::string_view kPeople[] = {"Amara", "Boris", "Chidi", "Dolores", "Emil", "Farah",  "Greta", "Hiro",
                                        "Ines",  "Jonas", "Katya", "Liam",    "Mei",  "Nadia",  "Oscar", "Priya",
                                        "Quinn", "Rosa",  "Sven",  "Tariq",   "Ulla", "Viktor", "Wanda", "Yusuf"};
constexpr std::string_view kInstitutes[] = {"the Halden Institute", "Norwood College",     "the Tesla Street Lab",
                                            "Lake University",      "the Open Text Group", "the Bureau of Answers",
                                            "Pinewood Research",    "the Copper Hill Team"};

}  // namespace

std::span<const std::string_view> objects() { return kObjects; }
std::span<const std::string_view> openings() { return kOpenings; }
std::span<const std::string_view> endings() { return kEndings; }
std::span<const std::string_view> questions() { return kQuestions; }
std::span<const AvoidedWord> avoided() { return kAvoided; }
std::span<const std::string_view> entities() { return kEntities; }
std::span<const std::string_view> people() { return kPeople; }
std::span<const std::string_view> institutes() { return kInstitutes; }

}  // namespace assay::english
