//! Connections: the seams for listening and connecting, and the client side of a Kafka connection.
