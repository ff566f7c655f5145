<?php
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
	header('Content-Type: application/octet-stream');
	readfile('php://input');
} else {
	header('Content-Type: text/plain');
	echo "hello, world\n";
}
