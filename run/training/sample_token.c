#include "run/training/sample_token.h"

#include <math.h>
#include <stdbool.h>

static bool likelier(const Candidate *a, const Candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

// A heap: each entry is more likely than its children 2i + 1 and 2i + 2. Only the candidates are sorted; sorting
// the whole vocabulary for every token would take longer than a small model.
static void sift_down(Candidate *heap, int i, int n) {
    Candidate moving = heap[i];
    for (int child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && likelier(&heap[child + 1], &heap[child])) child++;
        if (!likelier(&heap[child], &moving)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

// Moves the most likely entry of heap[0, n) to its end.
static void pop(Candidate *heap, int n) {
    Candidate top = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = top;
    sift_down(heap, 0, n - 1);
}

static double weight(const Candidate *c, double top, double temperature) {
    return exp((c->logit - top) / temperature);
}

int draw_token(Candidate *room, const float *logits, int V, const DrawConfig *config, double u) {
    int likeliest = 0;
    for (int i = 1; i < V; i++)
        if (logits[i] > logits[likeliest]) likeliest = i;
    if (config->temperature == 0) return likeliest;
    for (int i = 0; i < V; i++) room[i] = (Candidate){logits[i], i};
    const double top = logits[likeliest], temperature = config->temperature;
    bool cut_k = config->top_k > 0 && config->top_k < V, cut_p = config->top_p < 1;
    int first = cut_k ? V - config->top_k : 0; // the candidates are room[first, V)
    if (cut_k || cut_p)
        for (int i = V / 2 - 1; i >= 0; i--) sift_down(room, i, V);
    if (cut_k)
        for (int n = V; n > first; n--) pop(room, n);
    double sum = 0;
    for (int i = first; i < V; i++) sum += weight(&room[i], top, temperature);
    if (cut_p) {
        double enough = config->top_p * sum;
        int n = V;
        sum = 0;
        do {
            if (!cut_k) pop(room, n);
            sum += weight(&room[--n], top, temperature);
        } while (n > first && sum < enough);
        first = n;
    }
    double left = u * sum;
    for (int i = V - 1; i > first; i--) { // from the most likely one if they are sorted
        left -= weight(&room[i], top, temperature);
        if (left < 0) return room[i].token;
    }
    return room[first].token;
}
