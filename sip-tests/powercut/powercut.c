/* A power cut, for one process and one directory.
 *
 * Preloaded, this library keeps beside the watched directory a shadow of what a disk would hold if
 * the power went now: bytes that were written but not synced are not in it, nor are names whose
 * directory was not synced (creations, renames, removals). The harness kills the process with
 * SIGKILL at any moment; `rebuild` then makes the directory anew from the shadow.
 *
 *   POWERCUT_DIR     the watched directory, absolute
 *   POWERCUT_SHADOW  where the shadow is kept, absolute; must exist and be empty
 *   POWERCUT_EARLY   per mille of written pages and changed names that reach the disk at once, in
 *                    no order, as a real cache may write them back; default 0
 *   POWERCUT_SEED    for that
 *   POWERCUT_DEAF    if set, the bytes of files are not made durable by syncing them: a disk that
 *                    lies, to show that a harness would notice
 *
 * The shadow:
 *   objects/ID   durable bytes of a file
 *   dirs/ID      durable names of a directory, lines of "f ID NAME" or "d ID NAME"; the watched
 *                directory's ID is 0
 *   ready        there once all that the directory held at start is in the shadow: no cut before
 *
 * An ID is given to an inode when it is first seen and never again, since inode numbers are reused.
 * sync_file_range is passed through and makes nothing durable: it leaves the device's cache and the
 * file's metadata alone (sync_file_range(2)).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define BUCKETS 1024

struct range {
    off_t from, to;
};

struct node {
    struct node *next;
    ino_t ino;
    uint64_t id;
    int whole;            /* all of it may differ from the shadow */
    struct range *ranges; /* what may differ, else */
    size_t count, room;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *nodes[BUCKETS];
static char watched[PATH_MAX], shadow[PATH_MAX];
static size_t watched_length;
static uint64_t next_id = 1, early, random_state;
static int active, deaf;

/* ---- small things ------------------------------------------------------------------------- */

static void give_up(const char *what) {
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    _exit(97);
}

static uint64_t draw(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 33;
}

static int comes_early(void) { return early != 0 && draw() % 1000 < early; }

static int raw_open(const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int is_watched(const char *path) {
    return strncmp(path, watched, watched_length) == 0 &&
           (path[watched_length] == '/' || path[watched_length] == 0);
}

/* Absolute path of what a descriptor names; 0 if it names nothing in a file system. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path[0] == '/';
}

/* Absolute path of a name given to a call; its last part need not exist. */
static int absolute(int dirfd, const char *name, char *path) {
    char base[PATH_MAX];
    if (name[0] == '/') {
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    }
    if (dirfd == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else if (!path_of(dirfd, base)) {
        return 0;
    }
    return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

/* ---- inodes ------------------------------------------------------------------------------- */

static struct node **slot(ino_t ino) {
    struct node **at = &nodes[ino % BUCKETS];
    while (*at && (*at)->ino != ino) at = &(*at)->next;
    return at;
}

static struct node *node_of(ino_t ino) { return *slot(ino); }

static struct node *adopt(ino_t ino, uint64_t id) {
    struct node *node = calloc(1, sizeof *node);
    if (!node) give_up("calloc");
    node->ino = ino;
    node->id = id;
    *slot(ino) = node;
    return node;
}

static struct node *known(ino_t ino) {
    struct node *node = node_of(ino);
    if (node) return node;
    node = adopt(ino, next_id++);
    node->whole = 1;
    return node;
}

static void forget(ino_t ino) {
    struct node **at = slot(ino), *gone = *at;
    if (!gone) return;
    *at = gone->next;
    free(gone->ranges);
    free(gone);
}

/* Whether a descriptor may be of interest: sockets and pipes must not wait for the lock. */
static int is_file(int fd) {
    struct stat status;
    return active && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static struct node *node_of_fd(int fd) {
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return NULL;
    return node_of(status.st_ino);
}

/* ---- the shadow --------------------------------------------------------------------------- */

static int open_object(uint64_t id) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/objects/%llu", shadow, (unsigned long long)id);
    int object = raw_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (object < 0) give_up(path);
    return object;
}

static void copy_range(int from, int to, off_t at, off_t end) {
    char buffer[1 << 16];
    while (at < end) {
        size_t wanted = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
        ssize_t got = syscall(SYS_pread64, from, buffer, wanted, at);
        if (got <= 0) return;
        if (syscall(SYS_pwrite64, to, buffer, got, at) != got) give_up("shadow");
        at += got;
    }
}

/* A descriptor that reads, whatever the given one may do. */
static int reading(int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int own = raw_open(link, O_RDONLY | O_CLOEXEC, 0);
    if (own < 0) give_up(link);
    return own;
}

static void make_bytes_durable(int fd, struct node *node) {
    struct stat status;
    int from = reading(fd), object = open_object(node->id);
    if (fstat(from, &status) != 0) give_up("fstat");
    if (node->whole) {
        copy_range(from, object, 0, status.st_size);
    } else {
        for (size_t n = 0; n < node->count; n++)
            copy_range(from, object, node->ranges[n].from, node->ranges[n].to);
    }
    if (syscall(SYS_ftruncate, object, status.st_size) != 0) give_up("shadow");
    node->whole = 0;
    node->count = 0;
    close(object);
    close(from);
}

static void make_names_durable(const char *path, uint64_t id) {
    char draft[PATH_MAX + 64], final[PATH_MAX + 64];
    snprintf(draft, sizeof draft, "%s/dirs/.draft", shadow);
    snprintf(final, sizeof final, "%s/dirs/%llu", shadow, (unsigned long long)id);
    DIR *directory = opendir(path);
    if (!directory) return;
    int out = raw_open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0) give_up(draft);
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) continue;
        char line[PATH_MAX];
        int length = snprintf(line, sizeof line, "%c %llu %s\n", S_ISDIR(status.st_mode) ? 'd' : 'f',
                              (unsigned long long)known(status.st_ino)->id, entry->d_name);
        if (syscall(SYS_write, out, line, length) != length) give_up(draft);
    }
    close(out);
    closedir(directory);
    if (syscall(SYS_renameat2, AT_FDCWD, draft, AT_FDCWD, final, 0) != 0) give_up(final);
}

static void names_changed(const char *path) {
    char parent[PATH_MAX];
    struct stat status;
    if (!comes_early()) return;
    snprintf(parent, sizeof parent, "%s", path);
    char *end = strrchr(parent, '/');
    if (!end) return;
    *end = 0;
    if (is_watched(parent) && stat(parent, &status) == 0)
        make_names_durable(parent, known(status.st_ino)->id);
}

/* A file whose writes are synced one by one (attribute S). */
static int is_synchronous(int fd) {
    int flags = 0;
    return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_SYNC_FL) != 0;
}

static void bytes_changed(int fd, struct node *node, off_t from, off_t to) {
    if (!node->whole) {
        if (node->count && node->ranges[node->count - 1].to == from) {
            node->ranges[node->count - 1].to = to;
        } else {
            if (node->count == node->room) {
                node->room = node->room ? 2 * node->room : 16;
                node->ranges = realloc(node->ranges, node->room * sizeof *node->ranges);
                if (!node->ranges) give_up("realloc");
            }
            node->ranges[node->count++] = (struct range){from, to};
        }
    }
    for (off_t at = from; early && at < to;) {
        off_t end = (at / PAGE + 1) * PAGE;
        if (end > to) end = to;
        if (comes_early()) {
            int source = reading(fd), object = open_object(node->id);
            copy_range(source, object, at, end);
            close(object);
            close(source);
        }
        at = end;
    }
}

static void bytes_written(int fd, struct node *node, off_t from, off_t to) {
    bytes_changed(fd, node, from, to);
    if (!deaf && is_synchronous(fd)) make_bytes_durable(fd, node);
}

/* ---- start: what is there is durable ------------------------------------------------------- */

static void take_in(const char *path, uint64_t id) {
    DIR *directory = opendir(path);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char child[PATH_MAX];
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (lstat(child, &status) != 0) continue;
        struct node *node = known(status.st_ino);
        if (S_ISDIR(status.st_mode)) {
            take_in(child, node->id);
        } else if (S_ISREG(status.st_mode)) {
            int fd = raw_open(child, O_RDONLY | O_CLOEXEC, 0);
            if (fd < 0) give_up(child);
            make_bytes_durable(fd, node);
            close(fd);
        }
    }
    closedir(directory);
    make_names_durable(path, id);
}

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("POWERCUT_DIR"), *keep = getenv("POWERCUT_SHADOW");
    if (!dir || !keep) return;
    const char *share = getenv("POWERCUT_EARLY"), *seed = getenv("POWERCUT_SEED");
    char path[PATH_MAX + 16];
    struct stat status;
    snprintf(watched, sizeof watched, "%s", dir);
    snprintf(shadow, sizeof shadow, "%s", keep);
    watched_length = strlen(watched);
    early = share ? strtoull(share, NULL, 10) : 0;
    deaf = getenv("POWERCUT_DEAF") != NULL;
    random_state = seed ? strtoull(seed, NULL, 10) : 1;
    /* Children started by this process are not watched. */
    unsetenv("POWERCUT_DIR");
    snprintf(path, sizeof path, "%s/objects", shadow);
    if (syscall(SYS_mkdirat, AT_FDCWD, path, 0755) != 0) give_up(path);
    snprintf(path, sizeof path, "%s/dirs", shadow);
    if (syscall(SYS_mkdirat, AT_FDCWD, path, 0755) != 0) give_up(path);
    if (stat(watched, &status) == 0) {
        adopt(status.st_ino, 0);
        take_in(watched, 0);
    }
    snprintf(path, sizeof path, "%s/ready", shadow);
    close(raw_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    active = 1;
}

/* ---- the calls ----------------------------------------------------------------------------- */

#define ENTER() if (active) pthread_mutex_lock(&lock)
#define LEAVE()                          \
    do {                                 \
        int kept = errno;                \
        if (active) pthread_mutex_unlock(&lock); \
        errno = kept;                    \
    } while (0)

static int open_watched(int dirfd, const char *name, int flags, mode_t mode) {
    ENTER();
    int fd = (int)syscall(SYS_openat, dirfd, name, flags, mode);
    if (active && fd >= 0 && (flags & (O_WRONLY | O_RDWR | O_CREAT))) {
        char path[PATH_MAX];
        struct stat status;
        if (path_of(fd, path) && is_watched(path) && fstat(fd, &status) == 0 &&
            S_ISREG(status.st_mode)) {
            int fresh = !node_of(status.st_ino);
            struct node *node = known(status.st_ino);
            if (flags & O_TRUNC) node->whole = 1;
            if (fresh) names_changed(path);
        }
    }
    LEAVE();
    return fd;
}

#define OPENING(last)                        \
    mode_t mode = 0;                         \
    if (last & (O_CREAT | O_TMPFILE)) {      \
        va_list rest;                        \
        va_start(rest, last);                \
        mode = va_arg(rest, mode_t);         \
        va_end(rest);                        \
    }

int open(const char *name, int flags, ...) {
    OPENING(flags)
    return open_watched(AT_FDCWD, name, flags, mode);
}

int open64(const char *name, int flags, ...) {
    OPENING(flags)
    return open_watched(AT_FDCWD, name, flags, mode);
}

int openat(int dirfd, const char *name, int flags, ...) {
    OPENING(flags)
    return open_watched(dirfd, name, flags, mode);
}

int openat64(int dirfd, const char *name, int flags, ...) {
    OPENING(flags)
    return open_watched(dirfd, name, flags, mode);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ENTER();
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, count, at);
    struct node *node = active && done > 0 ? node_of_fd(fd) : NULL;
    if (node) bytes_written(fd, node, at, at + done);
    LEAVE();
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite64(fd, bytes, count, at);
}

static ssize_t written(int fd, ssize_t done) {
    struct node *node = active && done > 0 ? node_of_fd(fd) : NULL;
    if (node) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) bytes_written(fd, node, end - done, end);
    }
    return done;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!is_file(fd)) return syscall(SYS_write, fd, bytes, count);
    ENTER();
    ssize_t done = written(fd, syscall(SYS_write, fd, bytes, count));
    LEAVE();
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_file(fd)) return syscall(SYS_writev, fd, parts, count);
    ENTER();
    ssize_t done = written(fd, syscall(SYS_writev, fd, parts, count));
    LEAVE();
    return done;
}

static void all_changed(int fd) {
    struct node *node = active ? node_of_fd(fd) : NULL;
    if (node) node->whole = 1;
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t count,
                        unsigned flags) {
    ENTER();
    ssize_t done = syscall(SYS_copy_file_range, in, in_at, out, out_at, count, flags);
    all_changed(out);
    LEAVE();
    return done;
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t count) {
    if (!is_file(out)) return syscall(SYS_sendfile, out, in, at, count);
    ENTER();
    ssize_t done = syscall(SYS_sendfile, out, in, at, count);
    all_changed(out);
    LEAVE();
    return done;
}

ssize_t sendfile(int out, int in, off_t *at, size_t count) { return sendfile64(out, in, at, count); }

int ftruncate64(int fd, off64_t length) {
    ENTER();
    int done = (int)syscall(SYS_ftruncate, fd, length);
    all_changed(fd);
    LEAVE();
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    ENTER();
    int done = syscall(SYS_fallocate, fd, 0, at, length) == 0 ? 0 : errno;
    all_changed(fd);
    LEAVE();
    return done;
}

int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

static int synced(int fd, int done) {
    struct stat status;
    char path[PATH_MAX];
    if (!active || done != 0 || fstat(fd, &status) != 0) return done;
    struct node *node = node_of(status.st_ino);
    if (S_ISREG(status.st_mode) && node) {
        if (!deaf) make_bytes_durable(fd, node);
    } else if (S_ISDIR(status.st_mode) && path_of(fd, path) && is_watched(path)) {
        make_names_durable(path, known(status.st_ino)->id);
    }
    return done;
}

/* The disk itself is not bothered: the shadow is what counts, and tests are many. */
int fsync(int fd) {
    ENTER();
    int done = synced(fd, 0);
    LEAVE();
    return done;
}

int fdatasync(int fd) {
    ENTER();
    int done = synced(fd, 0);
    LEAVE();
    return done;
}

int mkdirat(int dirfd, const char *name, mode_t mode) {
    char path[PATH_MAX];
    struct stat status;
    ENTER();
    int done = (int)syscall(SYS_mkdirat, dirfd, name, mode);
    if (active && done == 0 && absolute(dirfd, name, path) && is_watched(path) &&
        stat(path, &status) == 0) {
        if (path[watched_length] == 0) {
            adopt(status.st_ino, 0);
        } else {
            known(status.st_ino);
            names_changed(path);
        }
    }
    LEAVE();
    return done;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int unlinkat(int dirfd, const char *name, int flags) {
    char path[PATH_MAX];
    struct stat status;
    ENTER();
    int seen = active && absolute(dirfd, name, path) && is_watched(path) &&
               lstat(path, &status) == 0;
    int done = (int)syscall(SYS_unlinkat, dirfd, name, flags);
    if (seen && done == 0) {
        if (S_ISDIR(status.st_mode) || status.st_nlink == 1) forget(status.st_ino);
        names_changed(path);
    }
    LEAVE();
    return done;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    struct stat status;
    ENTER();
    int seen = active && absolute(to_dir, to, target) && is_watched(target);
    int covered = seen && flags == 0 && lstat(target, &status) == 0 && status.st_nlink == 1;
    int done = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (done == 0 && covered) forget(status.st_ino);
    if (done == 0 && seen) names_changed(target);
    if (done == 0 && active && absolute(from_dir, from, source) && is_watched(source))
        names_changed(source);
    LEAVE();
    return done;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}
