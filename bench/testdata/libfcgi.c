/* The greeting, or the request's body back, on libfcgi: a pool of threads, each
 * blocked in FCGX_Accept_r, as in the library's own example threaded.c.
 * Usage: libfcgi SOCKET */
#include <fcgiapp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define THREADS 64

static int listener;

static void *work(void *unused) {
	FCGX_Request r;
	char b[32768];
	int n;
	(void)unused;
	FCGX_InitRequest(&r, listener, 0);
	while (FCGX_Accept_r(&r) >= 0) {
		const char *method = FCGX_GetParam("REQUEST_METHOD", r.envp);
		if (method && !strcmp(method, "POST")) {
			FCGX_PutS("Content-Type: application/octet-stream\r\n\r\n", r.out);
			while ((n = FCGX_GetStr(b, sizeof b, r.in)) > 0)
				FCGX_PutStr(b, n, r.out);
		} else {
			FCGX_PutS("Content-Type: text/plain\r\n\r\nhello, world\n", r.out);
		}
		FCGX_Finish_r(&r);
	}
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t t;
	int i;
	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || FCGX_Init() || (listener = FCGX_OpenSocket(argv[1], 512)) < 0)
		return 1;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t, NULL, work, NULL))
			return 1;
	pthread_join(t, NULL);
	return 0;
}
