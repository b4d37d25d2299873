// graph.cpp - streams whose work is captured into a graph in place of being queued, and graphs that are replayed.
#include "stream.h"

#include <algorithm>
#include <utility>

struct CUgraph_st {
    std::vector<emulator::Node> nodes;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<emulator::Node>> nodes;
};

namespace emulator {

namespace {
// All nodes that `last` come after, and themselves.
std::vector<bool> reached(const std::vector<Node> &nodes, std::vector<size_t> last) {
    std::vector<bool> seen(nodes.size());
    while (!last.empty()) {
        size_t i = last.back();
        last.pop_back();
        if (seen[i]) continue;
        seen[i] = true;
        last.insert(last.end(), nodes[i].after.begin(), nodes[i].after.end());
    }
    return seen;
}

// Every node once, each after those it comes after, otherwise in the order in force.
void replay(const std::vector<Node> &nodes) {
    std::vector<bool> done(nodes.size());
    std::vector<int64_t> order;
    for (size_t left = nodes.size(); left; left--) {
        order_make(order, (int64_t)nodes.size());
        auto next = std::find_if(order.begin(), order.end(), [&](int64_t i) {
            const std::vector<size_t> &after = nodes[(size_t)i].after;
            return !done[(size_t)i] && std::all_of(after.begin(), after.end(), [&](size_t j) { return done[j]; });
        });
        done[(size_t)*next] = true;
        if (state().dead == cudaSuccess) nodes[(size_t)*next].run();
    }
}

void merge(std::vector<size_t> &last, const std::vector<size_t> &more) {
    for (size_t i : more)
        if (std::find(last.begin(), last.end(), i) == last.end()) last.push_back(i);
}
} // namespace

void capture_add(CUstream_st *s, std::function<void()> run) {
    s->capture->nodes.push_back(Node{std::move(run), s->last});
    s->last = {s->capture->nodes.size() - 1};
}

void capture_record(CUevent_st *event, CUstream_st *s) {
    event->capture = s->capture;
    event->last = s->last;
}

cudaError_t capture_wait(CUstream_st *s, CUevent_st *event) {
    if (!event->capture) { // recorded outside, or never
        if (!event->mark) return cudaSuccess;
        s->capture->broken = true;
        return cudaErrorStreamCaptureIsolation;
    }
    if (!s->capture) s->capture = event->capture; // joins
    if (s->capture != event->capture) {
        s->capture->broken = event->capture->broken = true;
        return cudaErrorStreamCaptureMerge;
    }
    merge(s->last, event->last);
    return cudaSuccess;
}

void capture_leave(CUstream_st *s) {
    if (s->capture) s->capture->broken = true;
    s->capture = nullptr;
}

cudaError_t capture_forbids() {
    cudaError_t result = cudaSuccess;
    for (CUstream_st *s : streams) {
        if (!s->capture || s->capture->mode == cudaStreamCaptureModeRelaxed) continue;
        if (s->capture->mode == cudaStreamCaptureModeThreadLocal &&
            s->capture->thread != std::this_thread::get_id())
            continue;
        s->capture->broken = true;
        result = cudaErrorStreamCaptureUnsupported;
    }
    return result;
}

} // namespace emulator

using namespace emulator;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    Entry entry;
    CUstream_st *s = stream_of(stream);
    if (s != stream) return entry.leave(cudaErrorStreamCaptureUnsupported); // not the default stream
    if (s->capture) return entry.leave(cudaErrorIllegalState);
    s->capture = std::make_shared<Capture>(Capture{{}, s, mode, std::this_thread::get_id(), false});
    s->last.clear();
    return entry.leave(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    Entry entry;
    *graph = nullptr;
    std::shared_ptr<Capture> capture = stream->capture;
    if (!capture) return entry.leave(cudaErrorIllegalState);
    if (capture->origin != stream) return entry.leave(cudaErrorStreamCaptureUnmatched);
    std::vector<bool> joined = reached(capture->nodes, stream->last);
    bool all = std::find(joined.begin(), joined.end(), false) == joined.end();
    for (CUstream_st *s : streams)
        if (s->capture == capture) s->capture = nullptr, s->last.clear();
    if (capture->broken) return entry.leave(cudaErrorStreamCaptureInvalidated);
    if (!all) return entry.leave(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(capture->nodes)};
    state().recordings++;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    Entry entry;
    const Capture *capture = stream_of(stream)->capture.get();
    *status = !capture          ? cudaStreamCaptureStatusNone
              : capture->broken ? cudaStreamCaptureStatusInvalidated
                                : cudaStreamCaptureStatusActive;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *program, cudaGraph_t graph, unsigned long long) {
    Entry entry;
    *program = new CUgraphExec_st{std::make_shared<const std::vector<Node>>(graph->nodes)};
    return entry.leave(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t stream) {
    Entry entry;
    auto nodes = program->nodes;
    state().replays++;
    return entry.leave(stream_submit(stream, [nodes] { replay(*nodes); }));
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    Entry entry;
    if (nodes) die("cudaGraphGetNodes: only the count is emulated");
    *count = graph->nodes.size();
    return entry.leave(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program) {
    Entry entry;
    delete program;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    Entry entry;
    delete graph;
    return entry.leave(cudaSuccess);
}
}
