/* Makes a directory from what powercut.c's shadow says a disk would hold.
 *
 *   rebuild SHADOW TARGET      TARGET must not exist
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *shadow;

static void give_up(const char *what) {
    fprintf(stderr, "rebuild: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void make_file(unsigned long long id, const char *target) {
    char object[PATH_MAX], buffer[1 << 16];
    snprintf(object, sizeof object, "%s/objects/%llu", shadow, id);
    int out = open(target, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (out < 0) give_up(target);
    int in = open(object, O_RDONLY);
    /* A name can be durable before any byte is. */
    if (in < 0 && errno != ENOENT) give_up(object);
    for (ssize_t got; in >= 0 && (got = read(in, buffer, sizeof buffer)) != 0;) {
        if (got < 0 || write(out, buffer, got) != got) give_up(target);
    }
    if (in >= 0) close(in);
    close(out);
}

static void make_directory(unsigned long long id, const char *target) {
    char names[PATH_MAX], line[PATH_MAX], child[PATH_MAX];
    snprintf(names, sizeof names, "%s/dirs/%llu", shadow, id);
    if (mkdir(target, 0755) != 0) give_up(target);
    FILE *list = fopen(names, "r");
    if (!list) {
        if (errno == ENOENT) return;
        give_up(names);
    }
    while (fgets(line, sizeof line, list)) {
        char kind;
        unsigned long long of;
        int at = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%c %llu %n", &kind, &of, &at) != 2 || at == 0) give_up(names);
        if (snprintf(child, sizeof child, "%s/%s", target, line + at) >= (int)sizeof child)
            give_up(target);
        if (kind == 'd') {
            make_directory(of, child);
        } else {
            make_file(of, child);
        }
    }
    fclose(list);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: rebuild SHADOW TARGET\n");
        return 2;
    }
    shadow = arguments[1];
    make_directory(0, arguments[2]);
    return 0;
}
