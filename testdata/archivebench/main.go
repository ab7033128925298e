package main
import ("os";"time")
func main(){ f,_:=os.Create("/tmp/ab/conn.log"); newTraffic(1,time.Unix(1767225600,0).UTC()).write(f,25<<20) }
