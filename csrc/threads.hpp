// Threads for a call: those of PyTorch's OpenMP runtime where there is one, else our own, kept between calls.
#pragma once

#include <functional>

namespace lovasz {

// Runs work(0) .. work(workers - 1), the first on the calling thread, and returns when all are done. Each calling
// thread has workers of its own, so several may call at once; a forked process starts new ones.
void parallel(int workers, const std::function<void(int)>& work);

}  // namespace lovasz
