// A stand-in for a profiler, loaded by NVTX where NVTX_INJECTION64_PATH names it: writes every range to the file
// RANGES_FILE as it begins and ends: "begin THREAD NAME NUMBER", "end THREAD".
#define _GNU_SOURCE
#include <nvtx3/nvToolsExt.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *file; // each line is one call of fprintf, which locks it
static __thread int depth;

static int begin(const nvtxEventAttributes_t *range) {
    fprintf(file, "begin %d %s %lld\n", gettid(), range->message.ascii, (long long)range->payload.llValue);
    return depth++;
}

static int end(void) {
    fprintf(file, "end %d\n", gettid());
    return --depth;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t tables);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t tables) {
    const NvtxExportTableCallbacks *callbacks = tables(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable functions = NULL;
    unsigned size = 0;
    const char *path = getenv("RANGES_FILE");
    file = path ? fopen(path, "w") : NULL;
    if (!file || !callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &size)) return 0;
    if (size <= NVTX_CBID_CORE_RangePop) return 0;
    *functions[NVTX_CBID_CORE_RangePushEx] = (NvtxFunctionPointer)begin;
    *functions[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)end;
    return 1;
}
