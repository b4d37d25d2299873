// stream.cpp - streams and events: work is queued, and done only when something waits for it, in an order over the
// streams that events and the default stream leave open.
#include "stream.h"

#include <algorithm>
#include <utility>

namespace emulator {

namespace {
CUstream_st default_stream = {{}, true, nullptr, {}};
uint64_t n_submitted;
} // namespace

std::vector<CUstream_st *> streams = {&default_stream};

CUstream_st *stream_of(cudaStream_t stream) {
    return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread ? &default_stream
                                                                                            : stream;
}

namespace {

// Whether the first work of a stream may be done now.
bool ready(const CUstream_st *s) {
    if (s->queue.empty()) return false;
    const Work &first = s->queue.front();
    if (first.wait && !first.wait->reached) return false;
    if (!s->blocking) return true;
    for (const CUstream_st *o : streams)
        if (o != s && o->blocking && (s == &default_stream || o == &default_stream) && !o->queue.empty() &&
            o->queue.front().number < first.number)
            return false;
    return true;
}

void do_first(CUstream_st *s) {
    Work work = std::move(s->queue.front());
    s->queue.pop_front();
    if (work.run && state().dead == cudaSuccess) work.run();
    if (!work.record) return;
    work.record->reached = true;
    work.record->when = Clock::now();
}

// Which stream goes on: the wanted one first, last, or any.
CUstream_st *choose(const CUstream_st *wanted) {
    std::vector<CUstream_st *> able;
    for (CUstream_st *s : streams)
        if (ready(s)) able.push_back(s);
    if (able.empty()) die("no stream can go on");
    std::stable_partition(able.begin(), able.end(), [=](CUstream_st *s) { return s == wanted; });
    switch (state().order) {
    case ORDER_ASCENDING:
        return able.front();
    case ORDER_DESCENDING:
        return able.back();
    default:
        return able[random_next(able.size())];
    }
}

template <class Condition> void work_until(const CUstream_st *wanted, Condition done) {
    if (done()) return;
    memory_expose(true);
    while (!done()) do_first(choose(wanted));
    memory_expose(false);
}

bool all_idle() {
    return std::all_of(streams.begin(), streams.end(), [](CUstream_st *s) { return s->queue.empty(); });
}

void submit(CUstream_st *s, Work work) {
    work.number = n_submitted++;
    s->queue.push_back(std::move(work));
}

// A little work at every question, so that who asks again and again gets an answer.
template <class Condition> cudaError_t asked(Condition done) {
    if (!done()) {
        memory_expose(true);
        do_first(choose(nullptr));
        memory_expose(false);
    }
    return done() ? cudaSuccess : cudaErrorNotReady;
}
} // namespace

// Work for the default stream would wait for a blocking stream that is captured.
static cudaError_t default_forbidden(const CUstream_st *s) {
    if (s != &default_stream) return cudaSuccess;
    for (CUstream_st *o : streams)
        if (o->blocking && o->capture) {
            o->capture->broken = true;
            return cudaErrorStreamCaptureImplicit;
        }
    return cudaSuccess;
}

cudaError_t stream_submit(cudaStream_t stream, std::function<void()> run) {
    CUstream_st *s = stream_of(stream);
    cudaError_t result = default_forbidden(s);
    if (result != cudaSuccess) return result;
    if (s->capture) capture_add(s, std::move(run));
    else submit(s, Work{std::move(run), nullptr, nullptr, 0});
    return cudaSuccess;
}

bool stream_captured(cudaStream_t stream) {
    return stream_of(stream)->capture != nullptr;
}

cudaError_t stream_finish(cudaStream_t stream) {
    CUstream_st *s = stream_of(stream);
    if (s->capture) {
        s->capture->broken = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    cudaError_t result = default_forbidden(s);
    if (result == cudaSuccess) work_until(s, [=] { return s->queue.empty(); });
    return result;
}

void streams_finish() {
    work_until(nullptr, all_idle);
}

} // namespace emulator

using namespace emulator;

extern "C" {

// ---- streams ----

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    Entry entry;
    *stream = new CUstream_st{{}, !(flags & cudaStreamNonBlocking), nullptr, {}};
    streams.push_back(*stream);
    return entry.leave(cudaSuccess);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    Entry entry;
    return entry.leave(stream_finish(stream));
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    Entry entry;
    work_until(stream, [=] { return stream->queue.empty(); });
    capture_leave(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    Entry entry;
    CUstream_st *s = stream_of(stream);
    if (s->capture) return entry.leave(stream_finish(stream)); // refused
    return entry.leave(asked([=] { return s->queue.empty(); }));
}

cudaError_t cudaDeviceSynchronize(void) {
    Entry entry;
    cudaError_t result = capture_forbids();
    if (result == cudaSuccess) streams_finish();
    return entry.leave(result);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    Entry entry;
    return entry.leave(stream_submit(stream, [=] {
        memory_expose(false); // it runs on the host
        function(data);
        memory_expose(true);
    }));
}

// ---- events ----

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    Entry entry;
    *event = new CUevent_st;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    Entry entry;
    delete event;
    return entry.leave(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    Entry entry;
    CUstream_st *s = stream_of(stream);
    event->capture = nullptr;
    event->mark = nullptr;
    if (s->capture) {
        capture_record(event, s);
    } else {
        event->mark = std::make_shared<Mark>();
        submit(s, Work{nullptr, event->mark, nullptr, 0});
    }
    return entry.leave(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    Entry entry;
    CUstream_st *s = stream_of(stream);
    if (s->capture || event->capture) return entry.leave(capture_wait(s, event));
    if (event->mark) submit(s, Work{nullptr, nullptr, event->mark, 0});
    return entry.leave(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    Entry entry;
    if (event->capture) return entry.leave(cudaErrorCapturedEvent);
    if (event->mark) work_until(nullptr, [=] { return event->mark->reached; });
    return entry.leave(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    Entry entry;
    if (event->capture) return entry.leave(cudaErrorCapturedEvent);
    return entry.leave(asked([=] { return !event->mark || event->mark->reached; }));
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    Entry entry;
    *ms = 0;
    if (!from->mark || !to->mark) return entry.leave(cudaErrorInvalidResourceHandle);
    if (!from->mark->reached || !to->mark->reached) return entry.leave(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(to->mark->when - from->mark->when).count();
    return entry.leave(cudaSuccess);
}
}
