//! One client connection: accept, handshake, loop.
