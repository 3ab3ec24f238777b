// gocql's own integration tests, compiled as a program: see ../test_suite.py.
module suite

go 1.24

require github.com/apache/cassandra-gocql-driver/v2 v2.1.2
