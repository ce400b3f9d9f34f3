// Threads for what blocks: files and the store. Made by main.cpp, shared by the parts of the site.
#pragma once

#include <boost/asio/thread_pool.hpp>

namespace slipway::web {

using Workers = boost::asio::thread_pool;

}  // namespace slipway::web
