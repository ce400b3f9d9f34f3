// Service views -> slipway.v1 messages. Used by the adapters of this folder; the watch stream sends the same messages.
#pragma once

#include "backend/service/deployments.h"
#include "backend/service/nodes.h"
#include "backend/service/runs.h"
#include "slipway/v1/deployment.pb.h"
#include "slipway/v1/node.pb.h"
#include "slipway/v1/page.pb.h"
#include "slipway/v1/run.pb.h"

namespace slipway::rpc {

void fill(const service::RunView& view, v1::Run* message);
void fill(const service::DeploymentView& view, v1::Deployment* message);
void fill(const service::NodeView& view, v1::Node* message);
void fill(const service::NodeSample& sample, v1::NodeSample* message);
void fill(const domain::ServingSample& sample, v1::DeploymentSample* message);
void fill(const store::LogLine& line, v1::LogLine* message);
void fill(const store::RunEvent& event, v1::RunEvent* message);
void fill_progress(const store::Task& task, v1::Progress* message);

store::PageRequest page_request(const v1::PageRequest& request);
void fill_page(const std::string& next_page_token, int64_t total, v1::PageInfo* message);

}  // namespace slipway::rpc
