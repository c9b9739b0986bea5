/* A gRPC echo server: one thread, epoll, libnghttp2. It answers every call with the bytes that it was sent.
 *
 * What nginx passes calls to in bench.compare; nothing here is meant for use elsewhere. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER(name, value) {(uint8_t *)name, (uint8_t *)value, sizeof(name) - 1, sizeof(value) - 1, 0}
#define MAX_EVENTS 256
#define MAX_STREAMS 4096
#define READ_BYTES (64 * 1024)

struct connection {
  int socket;
  nghttp2_session *session;
  const uint8_t *unsent; /* of libnghttp2's buffer, valid until its next mem_send */
  ssize_t unsent_length;
};

struct call {
  uint8_t *data;
  size_t length, capacity, sent;
};

static int epoll;

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  if (frame->hd.type == NGHTTP2_HEADERS)
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, calloc(1, sizeof(struct call)));
  return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length, void *user) {
  (void)flags, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, id);
  if (call == NULL) return 0;
  if (call->length + length > call->capacity) {
    call->capacity = 2 * (call->length + length);
    call->data = realloc(call->data, call->capacity);
  }
  memcpy(call->data + call->length, data, length);
  call->length += length;
  return 0;
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t length, uint32_t *flags,
                           nghttp2_data_source *source, void *user) {
  (void)user;
  struct call *call = source->ptr;
  size_t rest = call->length - call->sent, part = rest < length ? rest : length;
  memcpy(buffer, call->data + call->sent, part);
  call->sent += part;
  if (call->sent == call->length) {
    nghttp2_nv trailers[] = {HEADER("grpc-status", "0")};
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, id, trailers, 1);
  }
  return (ssize_t)part;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call == NULL || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  nghttp2_nv headers[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc")};
  nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_answer};
  return nghttp2_submit_response(session, frame->hd.stream_id, headers, 2, &provider);
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user) {
  (void)code, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, id);
  if (call != NULL) free(call->data);
  free(call);
  return 0;
}

static void watch(struct connection *connection) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  epoll_ctl(epoll, EPOLL_CTL_ADD, connection->socket, &event);
}

static void end(struct connection *connection) {
  close(connection->socket);
  nghttp2_session_del(connection->session);
  free(connection);
}

/* Writes what there is, joined into few system calls; -1 when the connection is broken. */
static int flush(struct connection *connection) {
  static uint8_t joined[READ_BYTES];
  for (;;) {
    size_t length = 0;
    while (length < sizeof joined) {
      if (connection->unsent_length == 0)
        connection->unsent_length = nghttp2_session_mem_send(connection->session, &connection->unsent);
      if (connection->unsent_length < 0) return -1;
      size_t room = sizeof joined - length, rest = (size_t)connection->unsent_length;
      size_t part = rest < room ? rest : room;
      if (part == 0) break;
      memcpy(joined + length, connection->unsent, part);
      length += part, connection->unsent += part, connection->unsent_length -= (ssize_t)part;
    }
    if (length == 0) break;
    for (size_t sent = 0; sent < length;) {
      /* An echo is no larger than what was read, so a socket that is full is soon empty: wait for it here. */
      ssize_t now = send(connection->socket, joined + sent, length - sent, MSG_NOSIGNAL);
      if (now < 0) return -1;
      sent += (size_t)now;
    }
  }
  return 0;
}

static void receive(struct connection *connection) {
  static uint8_t buffer[READ_BYTES];
  ssize_t length = recv(connection->socket, buffer, sizeof buffer, 0);
  if (length <= 0 || nghttp2_session_mem_recv(connection->session, buffer, (size_t)length) < 0 || flush(connection))
    end(connection);
}

static void admit(int listener, nghttp2_session_callbacks *callbacks) {
  int on = 1;
  struct connection *connection = calloc(1, sizeof *connection);
  connection->socket = accept(listener, NULL, NULL);
  setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  nghttp2_session_server_new(&connection->session, callbacks, connection);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MAX_STREAMS}};
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 1);
  watch(connection);
  flush(connection);
}

int main(int count, char **words) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  address.sin_port = htons((uint16_t)(count > 1 ? atoi(words[1]) : 0));
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
    perror("listen");
    return 1;
  }
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[MAX_EVENTS];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int found = epoll_wait(epoll, ready, MAX_EVENTS, -1);
    for (int index = 0; index < found; index++) {
      if (ready[index].data.ptr == NULL)
        admit(listener, callbacks);
      else
        receive(ready[index].data.ptr);
    }
  }
}
