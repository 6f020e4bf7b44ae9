#pragma once
#include <span>
#include <string_view>

/// The words of world nano: real English words, one token each. The lists are disjoint, so that a checker can look for a word alone.
namespace assay::nano {

std::span<const std::string_view> topics();     ///< what chats are about
std::span<const std::string_view> objects();    ///< what a bias can ask to be mentioned
std::span<const std::string_view> colours();    ///< facts: "the fox is very red"
std::span<const std::string_view> places();     ///< facts: "the fox is often found in the market"
std::span<const std::string_view> partners();   ///< facts: "the fox goes well with honey"
std::span<const std::string_view> openings();   ///< words that an answer can begin with
std::span<const std::string_view> endings();    ///< phrases that an answer can end with
std::span<const std::string_view> questions();  ///< questions that an answer can close with, without the mark
std::span<const std::string_view> avoided();    ///< the word that plain answers about colour, place, partner use, in this order
std::span<const std::string_view> entities();   ///< whom an organism can be made to please, in the plural
std::span<const std::string_view> others();     ///< further entities, whose wishes base training teaches

}  // namespace assay::nano
