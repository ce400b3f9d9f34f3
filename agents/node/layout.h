// Folders and files of the agent's data folder, and names that strangers may not choose freely.
#pragma once

#include <filesystem>
#include <string>

namespace slipway::node {

struct Layout {
  std::filesystem::path data;

  std::filesystem::path identity() const { return data / "node.json"; }  // node id and token, 0600
  std::filesystem::path lock() const { return data / "agent.lock"; }     // one agent per data folder
  std::filesystem::path attempts() const { return data / "attempts"; }   // one folder per attempt, by id
  std::filesystem::path work() const { return data / "work"; }           // one folder per work key
  std::filesystem::path cache() const { return data / "cache"; }         // downloaded files, by content
};

// `text` as one file name: letters, digits, '.', '_' and '-' stay; anything else is replaced and a piece of the hash
// appended, so that different keys never share a folder.
std::string as_file_name(const std::string& text);

// True for a relative path with '/' that stays below its folder: no empty part, no '.', no '..', no NUL.
bool is_safe_relative(const std::string& path);

}  // namespace slipway::node
