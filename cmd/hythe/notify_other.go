//go:build !unix

package main

func (s *service) tell(string) {}
func (s *service) reloading()  {}
