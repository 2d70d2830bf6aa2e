#include "threads.hpp"

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace lovasz {
namespace {

// What a calling thread shares with its workers. Each worker holds it, so that it outlives the caller.
struct Team {
  std::mutex mutex;
  std::condition_variable begin, end;
  const std::function<void(int)>* work = nullptr;
  long round = 0;   // number of the call that is running
  int wanted = 0;   // workers 1 .. wanted - 1 take part in it
  int running = 0;  // and so many of them are not done yet
  int size = 1;     // the caller and the workers there are
  bool stop = false;
};

void serve(const std::shared_ptr<Team>& team, int worker, long round) {
  std::unique_lock<std::mutex> lock(team->mutex);
  while (true) {
    team->begin.wait(lock, [&] { return team->stop || team->round != round; });
    if (team->stop) return;
    round = team->round;
    if (worker >= team->wanted) continue;
    lock.unlock();
    (*team->work)(worker);
    lock.lock();
    if (--team->running == 0) team->end.notify_one();
  }
}

// The team of this thread. After a fork the workers are gone, and whatever they held is not to be touched.
struct Owner {
  std::shared_ptr<Team> team;
  int process = 0;

  ~Owner() {
    if (team && process == static_cast<int>(getpid())) {
      const std::lock_guard<std::mutex> lock(team->mutex);
      team->stop = true;
      team->begin.notify_all();
    } else if (team) {
      new std::shared_ptr<Team>(team);  // its locks may be held for ever: it is not destroyed
    }
  }

  std::shared_ptr<Team>& of_this_process() {
    const int now = static_cast<int>(getpid());
    if (team && process != now) new std::shared_ptr<Team>(team);
    if (!team || process != now) team = std::make_shared<Team>();
    process = now;
    return team;
  }
};

thread_local Owner owner;

// The OpenMP runtime that PyTorch has brought into the process. After a parallel operation its threads keep
// their cores busy for some milliseconds, waiting for the next: threads of our own would have to share the cores
// with them, so the next is given to them. GCC's, LLVM's and Intel's runtimes all have this entry.
struct OpenMP {
  void (*run)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*thread)() = nullptr;
  int (*threads)() = nullptr;
  int process = static_cast<int>(getpid());

  OpenMP() {
#if !defined(_WIN32)
    find(run, "GOMP_parallel");
    find(thread, "omp_get_thread_num");
    find(threads, "omp_get_num_threads");
#endif
  }
  // A forked process has the runtime but not its threads, and would wait for them for ever.
  bool usable() const { return run && thread && threads && process == static_cast<int>(getpid()); }

 private:
#if !defined(_WIN32)
  template <class Function>
  static void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  }
#endif
};

struct Region {
  const OpenMP& runtime;
  int workers;
  const std::function<void(int)>& work;

  static void enter(void* data) {
    const Region& region = *static_cast<const Region*>(data);
    for (int w = region.runtime.thread(); w < region.workers; w += region.runtime.threads()) region.work(w);
  }
};

}  // namespace

void parallel(int workers, const std::function<void(int)>& work) {
  if (workers <= 1) return work(0);
  static const OpenMP runtime;
  if (runtime.usable()) {
    Region region = {runtime, workers, work};
    return runtime.run(Region::enter, &region, static_cast<unsigned>(workers), 0);
  }
  const std::shared_ptr<Team> team = owner.of_this_process();
  int started;
  {
    const std::lock_guard<std::mutex> lock(team->mutex);
    try {
      for (; team->size < workers; ++team->size) std::thread(serve, team, team->size, team->round).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads: those there are do the work.
    }
    started = team->size < workers ? team->size : workers;
    team->work = &work;
    team->wanted = started;
    team->running = started - 1;
    ++team->round;
  }
  team->begin.notify_all();
  work(0);
  {
    std::unique_lock<std::mutex> lock(team->mutex);
    team->end.wait(lock, [&] { return team->running == 0; });
  }
  for (int worker = started; worker < workers; ++worker) work(worker);
}

}  // namespace lovasz
