/* Where many paths lead in a root, as a process sees it that has it as its root; in one job on the pool, since a
 * container may have a thousand mounts. Only for roots that cannot hang: in which nothing is mounted. */
#include "keelson.h"
#include "kernel.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct place {
  int err;    /* 0: found */
  char *path; /* in the root, without links */
  bool is_directory, is_above;
};

struct places_op {
  struct op op;
  char *root;
  char **paths;
  struct place *places;
  size_t size;
};

static void places_destroy(struct op *base) {
  struct places_op *o = (struct places_op *)base;
  if (o->places != NULL)
    for (size_t i = 0; i < o->size; i++) free(o->places[i].path);
  free(o->places);
  free_string_list(o->paths);
  free(o->root);
  free(o);
}

/* Takes the last part off a path; false when none is left. */
static bool cut_last(char *path) {
  size_t length = strlen(path);
  while (length > 0 && path[length - 1] == '/') length--;
  while (length > 0 && path[length - 1] != '/') length--;
  while (length > 0 && path[length - 1] == '/') length--;
  path[length] = '\0';
  return length > 0;
}

/* What the kernel calls an open file; false when that is too long. */
static bool path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = '\0';
  return length >= 0;
}

/* Of a path that leads nowhere, the nearest above it that exists. */
static void find_place(int root, const char *root_path, char *path, struct place *place) {
  char found[PATH_MAX];
  struct stat seen;
  AUTO_FD fd = -1;
  while ((fd = k_openat2(root, path, O_PATH | O_CLOEXEC, K_RESOLVE_IN_ROOT | K_RESOLVE_NO_MAGICLINKS)) < 0) {
    place->err = errno;
    if ((errno != ENOENT && errno != ENOTDIR) || !cut_last(path)) return;
    place->is_above = true;
  }
  size_t length = strcmp(root_path, "/") == 0 ? 0 : strlen(root_path);
  if (fstat(fd, &seen) != 0 || !path_of(fd, found)) {
    place->err = errno;
    return;
  }
  place->is_directory = S_ISDIR(seen.st_mode);
  place->path = strdup(found[length] == '\0' ? "/" : found + length);
  place->err = place->path == NULL ? ENOMEM : 0;
}

static void places_run(struct op *base) {
  struct places_op *o = (struct places_op *)base;
  char root_path[PATH_MAX];
  AUTO_FD root = open(o->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0 || !path_of(root, root_path)) {
    int err = errno;
    failure_set(&base->failure, err, "open", o->root, "look into %s", o->root);
    return;
  }
  for (size_t i = 0; i < o->size; i++) find_place(root, root_path, o->paths[i], &o->places[i]);
}

static napi_value places_result(napi_env env, struct op *base) {
  struct places_op *o = (struct places_op *)base;
  napi_value list, value;
  if (napi_create_array_with_length(env, o->size, &list) != napi_ok) return NULL;
  for (size_t i = 0; i < o->size; i++) {
    const struct place *place = &o->places[i];
    if (place->err != 0) {
      value = js_number(env, place->err);
    } else {
      if (napi_create_object(env, &value) != napi_ok) return NULL;
      set_property(env, value, "path", js_string(env, place->path));
      set_property(env, value, "isDirectory", js_bool(env, place->is_directory));
      set_property(env, value, "isAbove", js_bool(env, place->is_above));
    }
    if (value == NULL || napi_set_element(env, list, (uint32_t)i, value) != napi_ok) return NULL;
  }
  return list;
}

/* findPlaces(root, paths) -> promise; for each path a place or an errno */
static napi_value js_find_places(napi_env env, napi_callback_info info) {
  napi_value v[2];
  struct places_op *o = calloc(1, sizeof *o);
  if (o == NULL) return throw_errno(env, ENOMEM, "malloc", NULL, "find places");
  o->op.run = places_run;
  o->op.result = places_result;
  o->op.destroy = places_destroy;
  if (!args_read(env, info, 2, v) || !arg_string(env, v[0], "root", &o->root) ||
      !arg_strings(env, v[1], "paths", &o->paths)) {
    places_destroy(&o->op);
    return NULL;
  }
  while (o->paths[o->size] != NULL) o->size++;
  o->places = calloc(o->size + 1, sizeof *o->places);
  if (o->places == NULL) {
    places_destroy(&o->op);
    return throw_errno(env, ENOMEM, "malloc", NULL, "find places");
  }
  return op_start(env, &o->op, true);
}

void init_place(napi_env env, napi_value exports) { export_function(env, exports, "findPlaces", js_find_places); }
