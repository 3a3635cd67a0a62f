/* Recorded in the order of the calls: what a program writes, cuts, syncs and removes below $RECORD_BELOW, into $RECORD_TO.
   Preloaded; read by tests/fakes/recorded_disk.py. A record: operation, length of the path, offset, length of the bytes, path, bytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096

struct __attribute__((packed)) head {
  uint8_t operation;
  uint16_t path_bytes;
  uint64_t offset;
  uint32_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[MOST_FILES];
static int record = -1;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static const char *below(void) { return getenv("RECORD_BELOW"); }

static int wanted(const char *path) {
  const char *folder = below();
  return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static const char *path_of(int fd) { return fd >= 0 && fd < MOST_FILES ? paths[fd] : NULL; }

static void note(uint8_t operation, const char *path, uint64_t offset, const void *content, size_t bytes) {
  struct head head = {operation, (uint16_t)strlen(path), offset, (uint32_t)bytes};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, strlen(path)}, {(void *)content, bytes}};
  pthread_mutex_lock(&lock);
  if (record < 0) record = syscall(SYS_openat, AT_FDCWD, getenv("RECORD_TO"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  syscall(SYS_writev, record, parts, 3);
  pthread_mutex_unlock(&lock);
}

static int opened(int fd, const char *path, int flags) {
  if (fd >= 0 && fd < MOST_FILES && wanted(path)) {
    free(paths[fd]);
    paths[fd] = strdup(path);
    if (flags & O_CREAT) note('C', path, 0, NULL, 0);
    if (flags & O_TRUNC) note('T', path, 0, NULL, 0);
  }
  return fd;
}

#define OPEN(name)                                                                    \
  int name(const char *path, int flags, ...) {                                        \
    va_list more;                                                                     \
    va_start(more, flags);                                                            \
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;                               \
    va_end(more);                                                                     \
    int (*real)(const char *, int, ...) = next(#name);                                \
    return opened(real(path, flags, mode), path, flags);                              \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  if (path_of(fd)) {
    free(paths[fd]);
    paths[fd] = NULL;
  }
  return syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *content, size_t bytes) {
  const char *path = path_of(fd);
  uint64_t offset = path ? (uint64_t)lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t done = syscall(SYS_write, fd, content, bytes);
  if (path && done > 0) note('W', path, offset, content, (size_t)done);
  return done;
}

ssize_t pwrite64(int fd, const void *content, size_t bytes, off64_t offset) {
  ssize_t done = syscall(SYS_pwrite64, fd, content, bytes, offset);
  if (path_of(fd) && done > 0) note('W', path_of(fd), (uint64_t)offset, content, (size_t)done);
  return done;
}

ssize_t pwrite(int fd, const void *content, size_t bytes, off_t offset) { return pwrite64(fd, content, bytes, offset); }

int ftruncate64(int fd, off64_t length) {
  if (path_of(fd)) note('T', path_of(fd), (uint64_t)length, NULL, 0);
  return syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fsync(int fd) {
  if (path_of(fd)) note('S', path_of(fd), 0, NULL, 0);
  return 0; /* nothing has to reach a disk: the record says what would have */
}

int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path) {
  if (wanted(path)) note('U', path, 0, NULL, 0);
  return syscall(SYS_unlink, path);
}
