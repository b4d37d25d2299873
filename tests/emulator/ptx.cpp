// ptx.cpp - the instructions of device/cuda/ptx.h: products of tiles, loads of fragments, copies in the background.
#include "emulator_ptx.h"
#include "internal.h"

#include <string.h>

#include <deque>

namespace emulator {

namespace {
float half_of(uint32_t both, int which) { // bf16 in the lower (0) or upper (1) half
    uint32_t bits = which ? both & 0xffff0000u : both << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct Copy {
    char *to;
    const char *from;
    size_t bytes; // that are read; zeros after them
    int group;
};

struct Copies { // of one thread of the running block
    std::deque<Copy> pending;
    int group; // that is open
};
Copies copies[THREADS_MOST];
bool any_copies; // in the running block

bool aligned(const void *p) {
    return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

void load_tiles(void *const operands[32], bool transposed) {
    uint16_t tile[8][8];
    for (int i = 0; i < 4; i++) {
        for (int row = 0; row < 8; row++) {
            const void *from = static_cast<Loaded *>(operands[8 * i + row])->row;
            memcpy(tile[row], from, sizeof tile[row]);
        }
        for (int lane = 0; lane < 32; lane++) {
            int g = lane / 4, t = lane % 4;
            uint32_t low = transposed ? tile[2 * t][g] : tile[g][2 * t];
            uint32_t high = transposed ? tile[2 * t + 1][g] : tile[g][2 * t + 1];
            static_cast<Loaded *>(operands[lane])->r[i] = high << 16 | low;
        }
    }
}
} // namespace

void multiply_combine(void *const operands[32], unsigned) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const Multiplied *own = static_cast<Multiplied *>(operands[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 8; i++) // element i % 2 of register i / 2
            a[i / 2 % 2 ? g + 8 : g][2 * t + i % 2 + (i >= 4 ? 8 : 0)] = half_of(own->a[i / 2], i % 2);
        for (int i = 0; i < 4; i++) b[2 * t + i % 2 + (i >= 2 ? 8 : 0)][g] = half_of(own->b[i / 2], i % 2);
    }
    for (int lane = 0; lane < 32; lane++) {
        float *d = static_cast<Multiplied *>(operands[lane])->d;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            int row = i >= 2 ? g + 8 : g, col = 2 * t + i % 2;
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][col];
            d[i] += sum;
        }
    }
}

void load_combine(void *const operands[32], unsigned) {
    load_tiles(operands, false);
}
void load_transposed_combine(void *const operands[32], unsigned) {
    load_tiles(operands, true);
}

void load(uint32_t *r, const void *row, Combine combine, Place place) {
    if (!aligned(row))
        die("%s (%s:%d) of an address that is no multiple of 16", place.what, place.file, place.line);
    if (!shared_holds(row, 16))
        die("%s (%s:%d) of an address outside of shared memory", place.what, place.file, place.line);
    Loaded own = {r, row};
    warp_wait(0xffffffffu, &own, combine, place);
}

void copies_forget() { // the threads of a new block have none
    if (!any_copies) return;
    for (Copies &c : copies) c.pending.clear(), c.group = 0;
    any_copies = false;
}

void copy_begin(void *to, const void *from, int bytes) {
    if (!aligned(to) || !aligned(from)) die("cp_async_16 of an address that is no multiple of 16");
    if (!shared_holds(to, 16)) die("cp_async_16 to an address outside of shared memory");
    if (bytes < 0 || bytes > 16) die("cp_async_16 of %d bytes", bytes);
    if (bytes > 0 && !memory_is_device(from, (size_t)bytes))
        die("cp_async_16 from an address outside of device memory");
    Copies &own = copies[thread_number()];
    any_copies = true;
    memset(to, POISON, 16);
    own.pending.push_back(Copy{static_cast<char *>(to), static_cast<const char *>(from), (size_t)bytes, own.group});
}

void copy_commit() {
    copies[thread_number()].group++;
}

void copy_wait(int groups_left) {
    Copies &own = copies[thread_number()];
    while (!own.pending.empty() && own.pending.front().group < own.group - groups_left) {
        const Copy &c = own.pending.front();
        memset(c.to, 0, 16);
        if (c.bytes > 0) memcpy(c.to, c.from, c.bytes);
        own.pending.pop_front();
    }
}

} // namespace emulator
