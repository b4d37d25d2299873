// stream.h - the structs behind CUDA's stream, event and graph handles; for stream.cpp and graph.cpp.
#ifndef POLAR_CUDA_EMULATOR_STREAM_H
#define POLAR_CUDA_EMULATOR_STREAM_H

#include "internal.h"

#include <chrono>
#include <deque>
#include <memory>
#include <thread>

namespace emulator {
typedef std::chrono::steady_clock Clock;

struct Mark { // one recording of an event
    bool reached = false;
    Clock::time_point when;
};

struct Work {
    std::function<void()> run;
    std::shared_ptr<Mark> record, wait; // either, or neither
    uint64_t number;                    // in the order of the host's calls
};

struct Node { // work in a graph
    std::function<void()> run;
    std::vector<size_t> after; // numbers of nodes
};

struct Capture { // in progress
    std::vector<Node> nodes;
    cudaStream_t origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool broken;
};

CUstream_st *stream_of(cudaStream_t stream); // resolves the default handles
extern std::vector<CUstream_st *> streams;   // all of them

// Adds work to the graph that the stream is captured into.
void capture_add(CUstream_st *stream, std::function<void()> run);
void capture_record(CUevent_st *event, CUstream_st *stream);
cudaError_t capture_wait(CUstream_st *stream, CUevent_st *event);
void capture_leave(CUstream_st *stream); // the stream is destroyed
} // namespace emulator

struct CUstream_st {
    std::deque<emulator::Work> queue;
    bool blocking; // waits for the default stream, which waits for it
    std::shared_ptr<emulator::Capture> capture;
    std::vector<size_t> last; // the nodes that the next one comes after
};

struct CUevent_st {
    std::shared_ptr<emulator::Mark> mark;       // of its latest recording
    std::shared_ptr<emulator::Capture> capture; // of its latest recording, if that was captured
    std::vector<size_t> last;
};

#endif
