// Elastic deformation on the CPU: fixed chunks of rows, one thread a chunk. See docs/elastic_deform.md and call.h.
#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <new>

#include "sample.h"
#include "simd.h"

namespace elastic {
namespace {

constexpr int kMaxThreads = 64;

template <class Body> struct Crew {
  int n;
  const Body& body;
  std::atomic<int> next{0}, joined{0};
  static void work(void* p) {
    Crew* crew = static_cast<Crew*>(p);
    const int me = crew->joined.fetch_add(1);
    for (int i; (i = crew->next.fetch_add(1)) < crew->n;) crew->body(i, me);
  }
  static void* start(void* p) { return work(p), nullptr; }
};

// Run body(i, thread) for i in [0, n) on up to `threads` threads: those of torch's own pool, which may still be spinning after the
// operation before and would keep others off their cores; without OpenMP on threads that live for this call.
template <class Body> void parallel(const Call& call, int n, int threads, const Body& body) {
  Crew<Body> crew{n, body};
  threads = imin(threads, n);
  if (threads > 1 && call.team) return call.team(Crew<Body>::work, &crew, unsigned(threads), 0);
  pthread_t handles[kMaxThreads];
  int started = 0;
  while (started < threads - 1 && pthread_create(&handles[started], nullptr, Crew<Body>::start, &crew) == 0)
    ++started;  // a thread that cannot be started is one less; the caller's own always works
  Crew<Body>::work(&crew);
  for (int t = 0; t < started; ++t) pthread_join(handles[t], nullptr);
}

template <class T> struct Team {  // scratch of all threads, in raw memory because Rows has no default
  Rows<T>* rows = nullptr;
  int n = 0;
  bool build(const Plan<T>& plan, int threads, bool backward) {
    rows = static_cast<Rows<T>*>(std::malloc(sizeof(Rows<T>) * threads));
    if (!rows) return false;
    for (; n < threads; ++n) {
      new (rows + n) Rows<T>(plan);
      if (!rows[n].build(backward)) return ++n, false;
    }
    return true;
  }
  ~Team() {
    for (int i = 0; i < n; ++i) rows[i].~Rows<T>();
    std::free(rows);
  }
};

struct Tiling {
  int nz, ny, batch, tile_y, size_z, size_y;
  explicit Tiling(const Call& c)
      : nz(int((c.size[0] + kTileZ - 1) / kTileZ)), ny(0), batch(int(c.batch)), tile_y(elastic::tile_y(int(c.nd))),
        size_z(int(c.size[0])), size_y(int(c.size[1])) {
    ny = (size_y + tile_y - 1) / tile_y;
  }
  int count() const { return batch * nz * ny; }
  Chunk operator()(int i) const {
    const int b = i / (nz * ny), z = i / ny % nz, y = i % ny;
    return {b, z * kTileZ, imin(size_z, (z + 1) * kTileZ), y * tile_y, imin(size_y, (y + 1) * tile_y)};
  }
};

int thread_count(const Call& c, int chunks) {
  const int64_t voxels = c.batch * c.size[0] * c.size[1] * c.size[2];
  const int64_t useful = voxels / 32768 + 1;  // starting a thread costs about as much as this many voxels
  int64_t n = c.threads < useful ? c.threads : useful;
  n = n < chunks ? n : chunks;
  return n < 1 ? 1 : n > kMaxThreads ? kMaxThreads : int(n);
}

template <class T> bool finite(const Plan<T>& p) {
  const Call& c = p.call;
  if (c.affine)
    for (int64_t i = 0; i < (c.affine_step ? c.batch : 1) * c.nd * (c.nd + 1); ++i)
      if (!std::isfinite(c.affine[i])) return false;
  if (c.kind == kDense) return true;  // clamped voxel by voxel
  const T* v = static_cast<const T*>(c.field);
  int64_t n = (c.field_step ? c.batch : 1) * c.nd;
  for (int j = p.first; j < 3; ++j) n *= p.n[j];
  T zero = 0;
  for (int64_t i = 0; i < n; ++i) zero += v[i] * 0;
  return zero == 0;
}

template <class T, int ND, class U> void pick_row(const Rows<T>& r, const Item& it, const Shape& s, int64_t from, int64_t to) {
  const U* v = static_cast<const U*>(it.in) + from;
  U* out = static_cast<U*>(it.out) + to;
  const U fill = U(it.fill_bits);
  if (it.order == kLabel) label_row<U, T, ND>(r, v, out, s, int(it.padding), fill);
  else nearest_row<U, T, ND>(r, v, out, s, int(it.padding), fill);
}

template <class T, int ND> void sample_row(const Rows<T>& r, const Item& it, const Shape& s, int64_t from, int64_t to) {
  ask_ahead<T, ND>(r, static_cast<const char*>(it.in) + from * it.width, size_t(it.width), s);
  if (it.order == kLinear) {
    const T* v = static_cast<const T*>(it.in) + from;
    linear_row_fast<T, ND>(r, v, static_cast<T*>(it.out) + to, s, int(it.padding), T(it.fill));
  } else if (it.width == 1) pick_row<T, ND, uint8_t>(r, it, s, from, to);
  else if (it.width == 2) pick_row<T, ND, uint16_t>(r, it, s, from, to);
  else if (it.width == 4) pick_row<T, ND, uint32_t>(r, it, s, from, to);
  else pick_row<T, ND, uint64_t>(r, it, s, from, to);
}

// A large fresh output is mapped page by page at first touch, which costs as much as its interpolation. Where the system leaves the
// choice to programs, ask for 2 MiB pages for the whole ones among it; elsewhere nothing happens.
void ask_for_large_pages(const Call& call, const Item* items) {
#if defined(__linux__)
  constexpr uintptr_t kLarge = uintptr_t(2) << 20;
  const int64_t voxels = call.batch * call.size[0] * call.size[1] * call.size[2];
  for (int k = 0; k < call.n_items; ++k) {
    const uintptr_t from = reinterpret_cast<uintptr_t>(items[k].out);
    const uintptr_t to = from + uintptr_t(voxels * items[k].channels * items[k].width);
    const uintptr_t first = (from + kLarge - 1) & ~(kLarge - 1), last = to & ~(kLarge - 1);
    if (last > first + kLarge) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
#else
  (void)call, (void)items;
#endif
}

template <class T, int ND> int64_t forward(const Call& call, const Item* items) {
  Plan<T> plan(call);
  if (!plan.build()) return kNoMemory;
  if (!finite(plan)) return kNotFinite;
  const Tiling tiles(call);
  const int threads = thread_count(call, tiles.count());
  Team<T> team;
  if (!team.build(plan, threads, false)) return kNoMemory;
  ask_for_large_pages(call, items);
  const Shape in{{plan.in[0], plan.in[1], plan.in[2]}}, out{{plan.size[0], plan.size[1], plan.size[2]}};
  // Threads start far from each other: in neighbouring tiles they would wait for the same fresh page of the output.
  const int stretch = (tiles.count() + threads - 1) / threads;
  parallel(call, stretch * threads, threads, [&](int i, int me) {
    const int tile = i % threads * stretch + i / threads;
    if (tile >= tiles.count()) return;
    Rows<T>& rows = team.rows[me];
    const Chunk chunk = tiles(tile);
    if (call.kind != kDense) rows.win = window_of(plan, chunk);
    for (int z = chunk.z0; z < chunk.z1; ++z) {
      if (call.kind != kDense) rows.begin_slice(chunk, z);
      for (int y = chunk.y0; y < chunk.y1; ++y) {
        rows.evaluate(chunk, z, y);
        for (int k = 0; k < call.n_items; ++k)
          for (int64_t c = 0; c < items[k].channels; ++c) {
            const int64_t image = chunk.b * items[k].channels + c;
            sample_row<T, ND>(rows, items[k], in, image * in.volume(), image * out.volume() + out.at(z, y, 0));
          }
      }
    }
  });
  return kDone;
}

// Number of tiles along an axis from one to the next that may be scattered at the same time: their targets cannot meet when they
// are further apart than twice the largest displacement. Tiles of one colour run in parallel, colours one after the other, so
// every voxel receives its sums in an order that does not depend on the number of threads.
int colours(double reach, int tile, int count, int size_in) {
  if (count <= 1) return 1;
  if (!(reach + 2 < size_in)) return count;  // could wrap around under reflection
  const double k = 1 + std::ceil(2 * (reach + 2) / tile);
  return k < count ? int(k) : count;
}

// Bound of |target - x - offset| along each axis: a B-spline lies in the hull of its coefficients, the affine part peaks in a corner.
template <class T> void reach_of(const Plan<T>& p, double reach[3]) {
  const Call& c = p.call;
  for (int a = 0; a < p.nd; ++a) {
    const int axis = p.first + a;
    int64_t n = 1;
    for (int j = p.first; j < 3; ++j) n *= c.kind == kDense ? p.size[j] : p.n[j];
    double most = 0;
    for (int b = 0; b < (c.field_step ? c.batch : 1); ++b) {
      const T* v = static_cast<const T*>(c.field) + (int64_t(b) * p.nd + a) * n;
      for (int64_t i = 0; i < n; ++i) {
        const double d = std::fabs(double(v[i]));
        most = d <= most ? most : d;  // NaN wins and leads to serial work
      }
    }
    double linear = 0;
    for (int b = 0; c.affine && b < (c.affine_step ? c.batch : 1); ++b) {
      const double* r = p.affine(b) + a * (p.nd + 1);
      for (int e = 0; e < 1 << p.nd; ++e) {
        double v = r[p.nd];
        for (int j = 0; j < p.nd; ++j) v += r[j] * (p.off[p.first + j] + (e >> j & 1 ? p.size[p.first + j] - 1 : 0));
        linear = std::fabs(v) > linear ? std::fabs(v) : linear;
      }
    }
    // Where the output hangs over the input, padding pulls targets further than the displacement.
    const int over = imax(0, imax(-p.off[axis], p.off[axis] + p.size[axis] - p.in[axis]));
    reach[axis] = most + linear + 2.0 * over;
  }
}

struct Partial {  // what a chunk adds to the gradients of coefficients and affine, kept until it is its turn
  Window win;
  double affine[12];
  double* window;
};

template <class T, int ND> void backward_chunk(Rows<T>& rows, const Item* items, const Chunk& chunk, Partial* part) {
  const Plan<T>& plan = rows.p;
  const Call& call = plan.call;
  const bool dense = call.kind == kDense;
  const bool into_d = part != nullptr || call.grad_dense;
  const Shape in{{plan.in[0], plan.in[1], plan.in[2]}}, out{{plan.size[0], plan.size[1], plan.size[2]}};
  const size_t width = plan.size[2] * sizeof(T);
  if (!dense) rows.win = window_of(plan, chunk);
  if (part) {
    part->win = rows.win;
    std::memset(part->affine, 0, sizeof(part->affine));
    std::memset(part->window, 0, sizeof(double) * rows.win.volume(ND));
  }
  for (int z = chunk.z0; z < chunk.z1; ++z) {
    if (!dense) rows.begin_slice(chunk, z);
    if (part) std::memset(rows.grad_plane, 0, sizeof(double) * rows.win.plane(ND));
    for (int y = chunk.y0; y < chunk.y1; ++y) {
      rows.evaluate(chunk, z, y);
      for (int a = plan.first; a < 3; ++a) std::memset(rows.grad[a], 0, width);
      for (int k = 0; k < call.n_items; ++k) {
        const Item& it = items[k];
        if (it.order == kLabel || (it.order == kNearest && !it.grad)) continue;
        for (int64_t c = 0; c < it.channels; ++c) {
          const int64_t image = chunk.b * it.channels + c, from = image * in.volume();
          const T* g = static_cast<const T*>(it.out) + image * out.volume() + out.at(z, y, 0);
          T* grad_v = it.grad ? static_cast<T*>(it.grad) + from : nullptr;
          ask_ahead<T, ND>(rows, static_cast<const T*>(it.in) + from, sizeof(T), in);
          if (grad_v) ask_ahead<T, ND>(rows, grad_v, sizeof(T), in);
          backward_row_fast<T, ND>(rows, static_cast<const T*>(it.in) + from, g, grad_v, into_d, in, int(it.order),
                                   int(it.padding), T(it.fill));
        }
      }
      if (part) rows.collect(z, y, part->affine);
      for (int a = 0; call.grad_dense && a < ND; ++a) {
        T* to = static_cast<T*>(call.grad_dense) + (int64_t(chunk.b) * ND + a) * out.volume() + out.at(z, y, 0);
        for (int x = 0; x < plan.size[2]; ++x) to[x] = rows.grad[plan.first + a][x];
      }
    }
    if (part) rows.end_slice(z, part->window);
  }
}

template <class T, int ND> void add_partial(const Plan<T>& plan, int b, const Partial& part) {
  const Call& call = plan.call;
  const Window& w = part.win;
  if (call.grad_field) {
    for (int a = 0; a < ND; ++a)
      for (int z = 0; z < w.nz; ++z)
        for (int y = 0; y < w.ny; ++y) {
          const int64_t slice = (int64_t(b) * call.field_step * ND + a) * (ND == 3 ? plan.n[0] : 1) + w.kz + z;
          double* to = call.grad_field + (slice * plan.n[1] + w.ky + y) * w.nx;
          const double* from = part.window + ((int64_t(a) * w.nz + z) * w.ny + y) * w.nx;
          for (int x = 0; x < w.nx; ++x) to[x] += from[x];
        }
  }
  if (call.grad_affine)
    for (int i = 0; i < ND * (ND + 1); ++i) call.grad_affine[int64_t(b) * call.affine_step * ND * (ND + 1) + i] += part.affine[i];
}

template <class T, int ND> int64_t backward(const Call& call, const Item* items) {
  Plan<T> plan(call);
  if (!plan.build()) return kNoMemory;
  if (!finite(plan)) return kNotFinite;
  const Tiling tiles(call);
  const int n = tiles.count(), threads = thread_count(call, n);
  bool scatters = false;
  for (int k = 0; k < call.n_items; ++k) scatters |= items[k].grad != nullptr;
  int kz = 1, ky = 1;
  if (scatters) {
    double reach[3] = {};
    reach_of(plan, reach);
    kz = ND == 3 ? colours(reach[0], kTileZ, tiles.nz, plan.in[0]) : 1;
    ky = colours(reach[1], tiles.tile_y, tiles.ny, plan.in[1]);
  }
  const bool partial = call.kind != kDense && (call.grad_field || call.grad_affine);
  size_t most = 0;
  for (int i = 0; partial && i < tiles.nz * tiles.ny; ++i) {
    const size_t v = window_of(plan, tiles(i)).volume(ND);
    most = v > most ? v : most;
  }
  const size_t fits = (size_t(32) << 20) / (most * sizeof(double) + 1);
  const int wave = int(fits < 16 ? 16 : fits > 1024 ? 1024 : fits);
  Team<T> team;
  Arena memory;
  int* order = nullptr;
  Partial* parts = nullptr;
  double* windows = nullptr;
  const auto layout = [&] { memory.take(order, n), memory.take(parts, wave), memory.take(windows, most * wave); };
  if (!team.build(plan, threads, true) || !memory.reserve(layout)) return kNoMemory;
  for (int cz = 0; cz < kz; ++cz)
    for (int cy = 0; cy < ky; ++cy) {
      int m = 0;
      for (int i = 0; i < n; ++i)
        if (i / tiles.ny % tiles.nz % kz == cz && i % tiles.ny % ky == cy) order[m++] = i;
      for (int from = 0; from < m; from += wave) {
        const int count = imin(wave, m - from);
        parallel(call, count, threads, [&](int i, int me) {
          Partial* part = partial ? parts + i : nullptr;
          if (part) part->window = windows + size_t(i) * most;
          backward_chunk<T, ND>(team.rows[me], items, tiles(order[from + i]), part);
        });
        for (int i = 0; partial && i < count; ++i) add_partial<T, ND>(plan, tiles(order[from + i]).b, parts[i]);
      }
    }
  return kDone;
}

}  // namespace
}  // namespace elastic

extern "C" int64_t elastic_forward(const Call* call, const Item* items) {
  using namespace elastic;
  if (call->wide) return call->nd == 3 ? forward<double, 3>(*call, items) : forward<double, 2>(*call, items);
  return call->nd == 3 ? forward<float, 3>(*call, items) : forward<float, 2>(*call, items);
}

extern "C" int64_t elastic_backward(const Call* call, const Item* items) {
  using namespace elastic;
  if (call->wide) return call->nd == 3 ? backward<double, 3>(*call, items) : backward<double, 2>(*call, items);
  return call->nd == 3 ? backward<float, 3>(*call, items) : backward<float, 2>(*call, items);
}
