package middleware_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hythe-go/hythe/httpd/middleware"
)

func TestBasicAuth(t *testing.T) {
	h := middleware.BasicAuth{
		Realm:     "the \"quoted\"\r\nrealm\\",
		Check:     middleware.Passwords(map[string]string{"ann": "secret", "": "", "colon": "a:b"}),
		FailDelay: -1,
	}.Wrap(write("in"))
	for _, test := range []struct {
		name   string
		values []string
		status int
	}{
		{"right", []string{"Basic YW5uOnNlY3JldA=="}, 200},
		{"scheme in any case", []string{"bASIC YW5uOnNlY3JldA=="}, 200},
		{"colon in the password", []string{"Basic Y29sb246YTpi"}, 200},
		{"none", nil, 401},
		{"wrong password", []string{"Basic YW5uOndyb25n"}, 401},
		{"unknown name", []string{"Basic Ym9iOnNlY3JldA=="}, 401},
		{"no colon", []string{"Basic YW5u"}, 401},
		{"not base64", []string{"Basic ???"}, 401},
		{"unpadded", []string{"Basic YW5uOnNlY3JldA"}, 401},
		{"empty", []string{""}, 401},
		{"another scheme", []string{"Bearer YW5uOnNlY3JldA=="}, 401},
		{"two, the first right", []string{"Basic YW5uOnNlY3JldA==", "Basic YW5uOndyb25n"}, 401},
	} {
		r := request("GET", "/")
		r.Header["Authorization"] = test.values
		w, _ := run(h, r)
		if w.Code != test.status {
			t.Errorf("%s: %d, want %d", test.name, w.Code, test.status)
		}
		challenge := w.Header().Get("WWW-Authenticate")
		if test.status == 401 && challenge != `Basic realm="the _quoted___realm_", charset="UTF-8"` {
			t.Errorf("%s: the challenge is %q", test.name, challenge)
		}
	}
}

func TestBasicAuth_Proxy(t *testing.T) {
	h := middleware.BasicAuth{
		Check: middleware.Passwords(map[string]string{"ann": "secret"}), FailDelay: -1, Proxy: true,
	}.Wrap(write("in"))
	if w, _ := run(h, request("GET", "/", "Authorization: Basic YW5uOnNlY3JldA==")); w.Code != 407 || w.Header().Get("Proxy-Authenticate") == "" {
		t.Errorf("without Proxy-Authorization: %d", w.Code)
	}
	if w, _ := run(h, request("GET", "/", "Proxy-Authorization: Basic YW5uOnNlY3JldA==")); w.Code != 200 {
		t.Errorf("with it: %d", w.Code)
	}
}

func TestBasicAuth_FailDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := middleware.BasicAuth{Check: middleware.Passwords(nil)}.Wrap(write("in"))
		took := func(r *http.Request) time.Duration {
			start := time.Now()
			h.ServeHTTP(httptest.NewRecorder(), r)
			return time.Since(start)
		}
		wrong := request("GET", "/", "Authorization: Basic YW5uOnNlY3JldA==")
		if d := took(wrong); d != time.Second {
			t.Errorf("a wrong password waits %v, want 1s", d)
		}
		if d := took(request("GET", "/")); d != 0 {
			t.Errorf("none waits %v", d)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if d := took(wrong.WithContext(ctx)); d != 100*time.Millisecond {
			t.Errorf("after its client has gone it waits %v, want 100ms in all", d)
		}
	})
}
