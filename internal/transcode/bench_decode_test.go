package transcode

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// orderJSON is an order with five items, as a client writes it.
const orderJSON = `{"id":"ord_01HZX3K8T2M4Q6W8Y0A2C4E6G8","number":"9007199254740993","customer":"Zoë \"Zo\" Müller-Lüdenscheidt",` +
	`"status":"STATUS_PAID","priority":"PRIORITY_HIGH","items":[` +
	`{"sku":"SKU-000001-A","name":"Espresso cups, set of six","quantity":2,"price":39.95,"tags":["kitchen","porcelain"],"status":"STATUS_SHIPPED"},` +
	`{"sku":"SKU-000002-B","name":"Grinder \"Comandante\" C40","quantity":1,"price":265,"tags":["kitchen","manual"],"status":"STATUS_PENDING"},` +
	`{"sku":"SKU-000003-C","name":"Filter papers\t(white)","quantity":12,"price":4.5,"tags":["consumable"],"status":"STATUS_PAID"},` +
	`{"sku":"SKU-000004-D","name":"Kettle, gooseneck, 1.2 l","quantity":1,"price":89.9,"tags":["kitchen","electric"],"status":"STATUS_SHIPPED"},` +
	`{"sku":"SKU-000005-E","name":"Beans “Yirgacheffe”","quantity":4,"price":14.25,"tags":["coffee","whole beans"],"status":"STATUS_PENDING"}],` +
	`"labels":{"channel":"web","campaign":"spring-sale-2026","region":"eu-central-1","experiment":"checkout/b"},` +
	`"stock":{"17":"120000","42":"-3"},"created":"2026-03-14T15:09:26.535897932Z","updated":"2026-03-15T08:00:00Z","delay":"259200.500s",` +
	`"weights":[0.25,1.5,3.125,2.7182818284590451,0.1],"codes":[1,300,-7,65536,2147483647,0,99],` +
	`"signature":"3q2+78r+ur4AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw==",` +
	`"card":{"holder":"Z MUELLER","token":"18364758544493064720","month":11,"year":2029},` +
	`"note":"Please ring twice.\nLeave it with the neighbours otherwise – thank you!","gift":true,"total":617.85,"discount":0.125,` +
	`"version":"7","address":{"lines":["Hauptstraße 5","Hinterhaus, 3. Stock"],"city":"Köln","zip":"50667","country":"DE"}}`

func BenchmarkDecode(b *testing.B) {
	o := newWireOracle(b)
	m := testMessage(b, o.types, "sluice.test.shop.Order")
	doc := []byte(orderJSON)
	wire, err := m.AppendWire(nil, doc, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sluice", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			if wire, err = m.AppendWire(wire[:0], doc, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("dynamicpb", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			message := dynamicpb.NewMessage(m.desc)
			if err := (protojson.UnmarshalOptions{Resolver: o.dyn}).Unmarshal(doc, message); err != nil {
				b.Fatal(err)
			}
			if wire, err = (proto.MarshalOptions{}).MarshalAppend(wire[:0], message); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Logf("%d bytes of JSON, %d of wire", len(doc), len(wire))
}
